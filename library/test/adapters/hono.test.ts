import { test } from 'node:test'
import { testAdapter } from 'holdfast/testing'
import { onHono } from './servers.ts'

testAdapter('Hono', { test, serve: onHono })
