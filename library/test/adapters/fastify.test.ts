import { test } from 'node:test'
import { testAdapter } from 'holdfast/testing'
import { onFastify } from './servers.ts'

testAdapter('Fastify', { test, serve: onFastify })
