// `npm run bench:verified`: what it costs a request to know who it is, verified from the cache, beside the peers.
// Options: --rounds 5 --seconds 4 --warmup 2 --only <part of a name> --write
import { contest, type Contender } from './harness/contest.ts'

const bearer = true
const contenders: readonly Contender[] = [
  { name: 'Express', framework: 'express', kind: 'bare', module: 'express', variant: 'bare' },
  {
    name: 'Holdfast opaque, Express',
    framework: 'express',
    kind: 'holdfast',
    module: 'holdfast-express',
    variant: 'opaque',
  },
  {
    name: 'express-session + connect-redis',
    framework: 'express',
    kind: 'peer',
    module: 'express-session',
    variant: 'redis',
  },
  { name: 'Fastify, sent a cookie', framework: 'fastify', kind: 'bare', module: 'fastify', variant: 'bare' },
  { name: 'Fastify, a Map lookup', framework: 'fastify', kind: 'floor', module: 'fastify', variant: 'map' },
  {
    name: 'Holdfast opaque, Fastify',
    framework: 'fastify',
    kind: 'holdfast',
    module: 'holdfast-fastify',
    variant: 'opaque',
  },
  {
    name: 'Holdfast sealed, Fastify',
    framework: 'fastify',
    kind: 'holdfast',
    module: 'holdfast-fastify',
    variant: 'sealed',
  },
  { name: '@fastify/secure-session', framework: 'fastify', kind: 'peer', module: 'secure-session', variant: '' },
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
    name: 'Fastify, sent a bearer token',
    framework: 'fastify',
    kind: 'bare',
    bearer,
    module: 'fastify',
    variant: 'bearer',
  },
  {
    name: 'Holdfast signed, Fastify',
    framework: 'fastify',
    kind: 'holdfast',
    bearer,
    module: 'holdfast-fastify',
    variant: 'signed',
  },
  {
    name: 'fast-jwt, its cache on',
    framework: 'fastify',
    kind: 'peer',
    bearer,
    module: 'jwt',
    variant: 'fast-jwt-cache',
  },
  { name: 'fast-jwt', framework: 'fastify', kind: 'peer', bearer, module: 'jwt', variant: 'fast-jwt' },
  { name: 'jose', framework: 'fastify', kind: 'peer', bearer, module: 'jwt', variant: 'jose' },
  { name: 'node:http, sent a cookie', framework: 'http', kind: 'bare', module: 'http', variant: 'bare' },
  { name: 'node:http, a Map lookup', framework: 'http', kind: 'floor', module: 'http', variant: 'map' },
  { name: 'node:http, 4 µs of doing nothing', framework: 'http', kind: 'floor', module: 'http', variant: 'spin' },
  {
    name: 'Holdfast opaque, node:http',
    framework: 'http',
    kind: 'holdfast',
    module: 'holdfast-http',
    variant: 'opaque',
  },
  {
    name: 'Holdfast sealed, node:http',
    framework: 'http',
    kind: 'holdfast',
    module: 'holdfast-http',
    variant: 'sealed',
  },
  { name: 'iron-session', framework: 'http', kind: 'peer', module: 'iron-session', variant: '' },
  {
    name: 'node:http, sent a bearer token',
    framework: 'http',
    kind: 'bare',
    bearer,
    module: 'http',
    variant: 'bearer',
  },
  {
    name: 'Holdfast signed, node:http',
    framework: 'http',
    kind: 'holdfast',
    bearer,
    module: 'holdfast-http',
    variant: 'signed',
  },
]

/**
 * Few, so that server and load take turns. With many the load is asleep more or less often than the server, and waking it costs more than
 * what is measured: 4 µs of doing nothing then cost 13.
 */
const connections = 4

await contest('verified', 'identity', contenders, connections)
