// HAProxy keeps every promise of the proxies.
import { testProxy } from './behaviour.ts'
import { haproxy } from './site.ts'

testProxy(haproxy)
