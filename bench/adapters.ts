// `npm run bench:adapters`: what the adapter of each framework costs a request, verified from the cache, over the same framework without.
// Options: --rounds 5 --seconds 4 --warmup 2 --only <part of a name> --write
import { contest, type Contender } from './harness/contest.ts'

const frameworks: readonly (readonly [
  name: string,
  framework: Contender['framework'],
  bare: string,
  holdfast: string,
])[] = [
  ['node:http', 'http', 'http', 'holdfast-http'],
  ['Express', 'express', 'express', 'holdfast-express'],
  ['Fastify', 'fastify', 'fastify', 'holdfast-fastify'],
  ['Koa', 'koa', 'koa', 'koa'],
  ['NestJS on Express', 'nest', 'nest', 'nest'],
  ['fetch on @hono/node-server', 'fetch', 'fetch', 'fetch'],
  ['Hono on @hono/node-server', 'hono', 'hono', 'hono'],
]
const contenders = frameworks.flatMap(([name, framework, bare, holdfast]): Contender[] => [
  { name, framework, kind: 'bare', module: bare, variant: 'bare' },
  { name: `Holdfast, ${name}`, framework, kind: 'holdfast', module: holdfast, variant: 'opaque' },
])

/** As few as for `bench:verified`, and for the same reason. */
const connections = 4

await contest('adapters', 'identity', contenders, connections)
