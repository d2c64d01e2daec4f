// Where the time of a request goes inside Holdfast: ns of CPU per step, without a network, a framework or an engine.
// `node --conditions=source bench/profile.ts`. Caches are warm here; inside a server the same steps cost two to three times as much.
import { hash } from 'node:crypto'
import { parseArgs } from 'node:util'
import { cookieTransport, createSessions } from 'holdfast'
import { memoryStore } from 'holdfast/stores/memory'
import { costs } from './harness/cost.ts'
import { FakeExchange } from './harness/exchange.ts'
import { address, amr, person, profile, roles, userAgent } from './harness/person.ts'
import { median, table } from './harness/report.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    calls: { type: 'string', default: '100000' },
    only: { type: 'string', default: '' },
  },
})

const store = memoryStore()
const sessions = createSessions({ store, data: { profile } })
const { token, session } = await sessions.start(person(1).userId, {
  roles,
  amr,
  userAgent,
  address,
  data: { profile: person(1).data },
})
const record = (await store.get(session.id!))!
const cookie = `theme=dark; __Host-session=${token}; lang=en`

const headers = { cookie }
const transport = cookieTransport()
const secret = token.slice(23)
const plain = createSessions({ store })
const plainSession = await plain.open(token)
const { data } = person(1)
const header = (name: string) => (name === 'cookie' ? cookie : null)

const steps: Record<string, () => unknown> = {
  'nothing, awaited': () => undefined,
  'cookie: find the credential': () => transport.extract(header),
  'credential: hash': () => hash('sha256', secret, 'base64url'),
  'store: get on memory': () => store.get(record.id),
  'data: JSON.parse': () => JSON.parse(record.data) as unknown,
  'data: zod': () => profile.parse(data),
  'read without a schema': () => plainSession.read('profile'),
  'read with a zod schema': () => session.read('profile'),
  'open a token': () => sessions.open(token),
  'open a request': () => sessions.open(new FakeExchange(headers)),
  'open a request and read': async () => (await sessions.open(new FakeExchange(headers))).read('profile'),
  'open a request and roles': async () => (await sessions.open(new FakeExchange(headers))).roles,
  'open a request without a credential': () => sessions.open(new FakeExchange({})),
}
const measured = await costs(
  Object.entries(steps)
    .filter(([name]) => name.startsWith(values.only))
    .map(([name, run]) => ({ name, run, calls: Number(values.calls) })),
  Number(values.rounds),
)
console.log(
  table(
    ['step', 'ns, median', 'ns, least'],
    [...measured].map(([name, ns]) => [name, median(ns).toFixed(0), Math.min(...ns).toFixed(0)]),
  ),
)
