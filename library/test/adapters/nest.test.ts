import { test } from 'node:test'
import { testAdapter } from 'holdfast/testing'
import { onNest } from './servers.ts'

testAdapter('Nest', { test, serve: onNest })
