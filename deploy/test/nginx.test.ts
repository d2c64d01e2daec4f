// nginx keeps every promise of the proxies.
import { testProxy } from './behaviour.ts'
import { nginx } from './site.ts'

testProxy(nginx)
