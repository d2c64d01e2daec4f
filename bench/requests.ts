// `npm run bench`: what a session costs a request, beside the same framework without one and beside its peers.
// Options: --rounds 5 --seconds 4 --warmup 2 --only <part of a name> --write
import { contest, type Contender } from './harness/contest.ts'

const contenders: readonly Contender[] = [
  { name: 'Express', framework: 'express', kind: 'bare', module: 'express', variant: 'bare' },
  { name: 'Express, one bare GET', framework: 'express', kind: 'floor', module: 'express', variant: 'get' },
  {
    name: 'Holdfast on memory, Express',
    framework: 'express',
    kind: 'holdfast',
    module: 'holdfast-express',
    variant: 'memory',
  },
  {
    name: 'Holdfast on Redis, Express',
    framework: 'express',
    kind: 'holdfast',
    module: 'holdfast-express',
    variant: 'redis',
  },
  {
    name: 'express-session on memory',
    framework: 'express',
    kind: 'peer',
    module: 'express-session',
    variant: 'memory',
  },
  {
    name: 'express-session + connect-redis',
    framework: 'express',
    kind: 'peer',
    module: 'express-session',
    variant: 'redis',
  },
  {
    name: "the same with node-redis's default timeout",
    framework: 'express',
    kind: 'peer',
    module: 'express-session',
    variant: 'redis-timeouts',
  },
  { name: 'Fastify', framework: 'fastify', kind: 'bare', module: 'fastify', variant: 'bare' },
  {
    name: 'Holdfast on Redis, Fastify',
    framework: 'fastify',
    kind: 'holdfast',
    module: 'holdfast-fastify',
    variant: 'redis',
  },
  {
    name: '@fastify/session + connect-redis',
    framework: 'fastify',
    kind: 'peer',
    module: 'fastify-session',
    variant: 'rolling',
  },
  {
    name: 'the same, not rolling',
    framework: 'fastify',
    kind: 'peer',
    module: 'fastify-session',
    variant: 'not-rolling',
  },
  { name: 'better-auth on Redis', framework: 'fastify', kind: 'peer', module: 'better-auth', variant: 'redis' },
  {
    name: 'better-auth on Redis, cookie cache',
    framework: 'fastify',
    kind: 'peer',
    module: 'better-auth',
    variant: 'cookie-cache',
  },
  { name: 'node:http', framework: 'http', kind: 'bare', module: 'http', variant: 'bare' },
  { name: 'node:http, a Map lookup', framework: 'http', kind: 'floor', module: 'http', variant: 'map' },
  { name: 'node:http, one bare GET', framework: 'http', kind: 'floor', module: 'http', variant: 'get' },
  {
    name: 'Holdfast on memory, node:http',
    framework: 'http',
    kind: 'holdfast',
    module: 'holdfast-http',
    variant: 'memory',
  },
  {
    name: 'Holdfast on Redis, node:http',
    framework: 'http',
    kind: 'holdfast',
    module: 'holdfast-http',
    variant: 'redis',
  },
  { name: 'iron-session', framework: 'http', kind: 'peer', module: 'iron-session', variant: '' },
]

await contest('requests', 'data', contenders)
