import { test } from 'node:test'
import { testAdapter } from 'holdfast/testing'
import { onNest, onNestFastify } from './servers.ts'

testAdapter('Nest', { test, serve: onNest })
testAdapter('Nest on Fastify', { test, serve: onNestFastify })
