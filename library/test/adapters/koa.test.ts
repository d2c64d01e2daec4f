import { test } from 'node:test'
import { testAdapter } from 'holdfast/testing'
import { onKoa } from './servers.ts'

testAdapter('Koa', { test, serve: onKoa })
