// Caddy keeps every promise of the proxies.
import { testProxy } from './behaviour.ts'
import { caddy } from './site.ts'

testProxy(caddy)
