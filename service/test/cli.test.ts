// The `holdfast` command, while the service runs and beside it.
import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { startRedis } from '../../scripts/servers/redis.ts'
import { clientCacheMs } from '../src/clients.ts'
import { clients } from '../src/cli/clients.ts'
import { UsageError } from '../src/cli/command.ts'
import { keys } from '../src/cli/keys.ts'
import { sessions } from '../src/cli/sessions.ts'
import { adminSecret, assertNoSecrets, holdfast, keepSecret, serve, until, type ServedProcess } from './service.ts'

const engines = [
  { name: 'sqlite', start: async () => null },
  { name: 'redis', start: () => startRedis() },
]

for (const engine of engines) {
  describe(`commands beside a service on ${engine.name}`, () => {
    let env: Record<string, string>
    let redis: Awaited<ReturnType<typeof startRedis>> | null
    let service: ServedProcess
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-cli-'))
    before(async () => {
      redis = await engine.start()
      env = {
        HOLDFAST_DATA: folder,
        HOLDFAST_ADMIN_SECRET: adminSecret,
        ...(redis === null ? {} : { HOLDFAST_STORE: redis.url }),
      }
      service = await serve(env)
    })
    after(async () => {
      assert.equal(await service.end(), 0)
      await redis?.stop()
      rmSync(folder, { recursive: true })
    })

    it('adds a client, shows its secret once, lists and removes it', async () => {
      const added = holdfast(['clients', 'add', 'shop', '--permissions', 'start,verify,write:cart'], env)
      assert.equal(added.code, 0, added.err)
      const secret = added.out.trim()
      assert.match(secret, /^[\w-]{43}$/)
      keepSecret(secret)
      assert.ok(!added.err.includes(secret))
      const start = () => service.call('POST', '/v1/sessions', { as: `shop:${secret}`, body: { userId: 'ada' } })
      assert.equal((await start()).status, 201)
      const twice = holdfast(['clients', 'add', 'shop', '--permissions', 'start'], env)
      assert.deepEqual([twice.code, twice.out], [1, ''])
      assert.match(twice.err, /there is a client 'shop' already/)
      const listed = holdfast(['clients', 'list'], env)
      assert.match(listed.out, /^CLIENT +PERMISSIONS\nadmin +admin\nshop +start,verify,write:cart\n$/)
      assertNoSecrets(listed.out + listed.err)
      assert.equal(holdfast(['clients', 'remove', 'shop'], env).code, 0)
      const removedAt = performance.now()
      for (let askedAt = removedAt; (await start()).status !== 401; askedAt = performance.now())
        assert.ok(askedAt < removedAt + clientCacheMs, 'called by a client that was removed')
      assert.equal(holdfast(['clients', 'remove', 'shop'], env).code, 1)
    })

    it('lists, shows and ends sessions', async () => {
      const mine = await service.start({ userId: 'carol', roles: ['clerk'], data: { cart: ['secret data'] } })
      const others = [await service.start({ userId: 'dave' }), await service.start({ userId: 'dave' })]
      const listed = holdfast(['sessions', 'list', '--user', 'carol'], env)
      assert.match(
        listed.out,
        new RegExp(`^SESSION +USER +STARTED +LAST SEEN +EXPIRES\n${mine.id}  carol  \\S+Z  \\S+Z  \\S+Z\n$`),
      )
      assert.equal(holdfast(['sessions', 'list', '--limit', '2'], env).out.split('\n').length, 4)
      const shown = holdfast(['sessions', 'show', mine.id], env)
      const { userId, roles, sections, idInLog } = JSON.parse(shown.out)
      assert.deepEqual([userId, roles, sections], ['carol', ['clerk'], ['cart']])
      assert.ok(!shown.out.includes('secret data'))
      assert.equal(holdfast(['sessions', 'end', mine.id], env).out, 'ended 1 session\n')
      assert.equal(holdfast(['sessions', 'end', mine.id], env).code, 1)
      assert.equal(holdfast(['sessions', 'show', mine.id], env).code, 1)
      assert.equal(
        (await service.call('POST', '/v1/sessions/verify', { body: { token: mine.token } })).body.active,
        false,
      )
      assert.equal(holdfast(['sessions', 'end', '--user', 'dave'], env).out, 'ended 2 sessions\n')
      for (const { token } of others) {
        assert.equal((await service.call('POST', '/v1/sessions/verify', { body: { token } })).body.active, false)
      }
      const last = await service.start()
      assert.match(holdfast(['sessions', 'end', '--all'], env).out, /^ended \d+ sessions?\n$/)
      assert.equal((await service.call('GET', `/v1/sessions/${last.id}`)).status, 404)
      // The name an id has in the log is the one that `show` tells.
      assert.ok(service.output().includes(idInLog))
    })

    it('lists keys and rotates them, and shows nothing private', async () => {
      const { accessToken } = await service.startSigned()
      const kid = JSON.parse(Buffer.from(accessToken.split('.')[0]!, 'base64url').toString()).kid as string
      const listed = holdfast(['keys', 'list'], env)
      assert.equal(listed.code, 0, listed.err)
      assert.match(
        listed.out,
        new RegExp(
          `^KEY +ALGORITHM +STATE +MADE +SIGNS FROM +VERIFIES UNTIL\n${kid} +EdDSA +current +\\S+Z +\\S+Z +-\n$`,
        ),
      )
      const rotated = holdfast(['keys', 'rotate'], env)
      assert.match(rotated.out, new RegExp(`${kid} +EdDSA +current [^]*EdDSA +next `))
      const published = async () => (await service.call('GET', '/.well-known/jwks.json')).body.keys.length as number
      await until(async () => (await published()) === 2, 'the next key, published')
    })

    it('finds nothing wrong', () => {
      const { code, out } = holdfast(['doctor'], env)
      assert.equal(code, 0, out)
      assert.doesNotMatch(out, /^!!/m)
      const json = JSON.parse(holdfast(['doctor', '--json'], env).out) as { what: string; ok: boolean }[]
      const names = json.map(({ what }) => what)
      const expected = ['Node', 'settings', 'data folder', 'store', 'format']
      assert.deepEqual(
        names.filter((name) => expected.includes(name)),
        expected,
      )
      if (redis !== null) assert.ok(names.includes('Redis eviction') && names.includes('clock of Redis'))
    })
  })
}

describe('doctor says what to do about', () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-doctor-'))
  after(() => rmSync(folder, { recursive: true }))
  function examine(env: Record<string, string>): {
    code: number | null
    wrong: { what: string; found: string; advice: string }[]
  } {
    const { code, out } = holdfast(['doctor', '--json'], { HOLDFAST_DATA: folder, ...env })
    const all = JSON.parse(out) as { what: string; ok: boolean; found: string; advice: string }[]
    return { code, wrong: all.filter(({ ok }) => !ok) }
  }

  it('settings', () => {
    const { code, wrong } = examine({ HOLDFAST_PORT: 'x', HOLDFAST_STORR: '' })
    assert.equal(code, 1)
    assert.deepEqual(
      wrong.map(({ what }) => what),
      ['setting', 'setting'],
    )
  })

  it('files that others can read', async () => {
    const service = await serve({ HOLDFAST_DATA: folder })
    await service.end()
    assert.deepEqual(examine({}), { code: 0, wrong: [] })
    chmodSync(folder, 0o755)
    chmodSync(join(folder, 'admin-secret'), 0o644)
    chmodSync(join(folder, 'holdfast.db'), 0o664)
    const { code, wrong } = examine({})
    assert.equal(code, 1)
    assert.deepEqual(
      wrong.map(({ what }) => what),
      ['data folder', 'admin secret', 'mode of the SQLite file'],
    )
    for (const { advice } of wrong) assert.match(advice, /chmod [67]00/)
    const output = JSON.stringify(wrong)
    assert.ok(!output.includes(readFileSync(join(folder, 'admin-secret'), 'utf8').trim()))
  })

  it('a Redis that drops sessions, or is gone', async () => {
    const redis = await startRedis({ settings: { 'maxmemory-policy': 'allkeys-lru', maxmemory: '64mb' } })
    const env = { HOLDFAST_STORE: redis.url, HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_DATA: join(folder, 'none') }
    const dropping = examine(env)
    assert.deepEqual([dropping.code, dropping.wrong.map(({ what }) => what)], [1, ['Redis eviction']])
    assert.match(dropping.wrong[0]!.advice, /noeviction/)
    await redis.stop()
    const gone = examine(env)
    assert.deepEqual([gone.code, gone.wrong.map(({ what }) => what)], [1, ['store']])
    assert.match(gone.wrong[0]!.found, /can't be reached/)
  })
})

describe('in a folder where no service runs', () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-elsewhere-'))
  const data = join(folder, 'data')
  after(() => rmSync(folder, { recursive: true }))
  const commands = [
    ['sessions', 'list'],
    ['sessions', 'show', 'A'.repeat(22)],
    ['sessions', 'end', '--all'],
    ['clients', 'list'],
    ['clients', 'remove', 'shop'],
  ]

  it('commands say that there is no store, and make none', () => {
    for (const command of commands) {
      const { code, out, err } = holdfast(command, { HOLDFAST_DATA: data })
      assert.deepEqual([code, out], [1, ''], command.join(' '))
      const advice = 'run this where the service runs, or set HOLDFAST_DATA / HOLDFAST_STORE'
      assert.equal(err, `holdfast: no store at ${join(data, 'holdfast.db')}: ${advice}\n`)
    }
    assert.ok(!existsSync(data))
  })

  it('nor on a Redis that no service has used', async () => {
    const redis = await startRedis()
    const { code, err } = holdfast(['sessions', 'list'], { HOLDFAST_DATA: data, HOLDFAST_STORE: redis.url })
    await redis.stop()
    assert.equal(code, 1)
    assert.match(err, /^holdfast: no store at redis:[^\n]+: run this where the service runs/)
    assert.ok(!existsSync(data))
  })

  it('adding a client makes the store', () => {
    const added = holdfast(['clients', 'add', 'shop', '--permissions', 'verify'], { HOLDFAST_DATA: data })
    keepSecret(added.out.trim())
    assert.equal(added.code, 0, added.err)
    assert.match(holdfast(['clients', 'list'], { HOLDFAST_DATA: data }).out, /shop/)
    assert.equal(holdfast(['sessions', 'list'], { HOLDFAST_DATA: data }).code, 0)
    assert.ok(!existsSync(join(data, 'admin-secret')))
  })
})

describe('the command line', () => {
  it('explains every command', () => {
    const overview = holdfast(['--help'], {})
    assert.equal(overview.code, 0)
    for (const name of ['serve', 'clients', 'sessions', 'keys', 'doctor', 'version']) {
      assert.ok(overview.out.includes(name))
      const { code, out, err } = holdfast([name, '--help'], {})
      assert.deepEqual([code, err], [0, ''])
      assert.ok(out.startsWith(`holdfast ${name}`))
    }
  })

  it('exits with 2 when it did not understand', () => {
    for (const args of [
      [],
      ['frobnicate'],
      ['serve', 'now'],
      ['serve', '--port', '1'],
      ['clients'],
      ['doctor', '--fix'],
    ]) {
      const { code, err, out } = holdfast(args, { HOLDFAST_STORE: 'memory:' })
      assert.equal(code, 2, args.join(' ') + err)
      assert.ok(args.length === 0 ? out.length > 0 : err.startsWith('holdfast: '), err)
    }
  })

  it('says what it did not understand', async () => {
    const commands = { clients, sessions, keys }
    for (const [name, ...args] of [
      ['clients', 'add'],
      ['clients', 'add', 'shop'],
      ['clients', 'add', 'shop', '--permissions', 'fly'],
      ['clients', 'add', 'shop', '--permissions', 'read:1st'],
      ['clients', 'add', '../x', '--permissions', 'read'],
      ['clients', 'add', 'admin', '--permissions', 'read'],
      ['clients', 'remove', 'a', 'b'],
      ['sessions', 'show'],
      ['sessions', 'show', 'x'],
      ['sessions', 'end'],
      ['sessions', 'end', '--user', 'a', '--all'],
      ['sessions', 'list', '--limit', '0'],
      ['sessions', 'list', 'x'],
      ['sessions', 'forget'],
      ['keys'],
      ['keys', 'retire'],
      ['keys', 'retire', 'a', 'b'],
      ['keys', 'list', 'x'],
      ['keys', 'list', '--now'],
    ]) {
      await assert.rejects(commands[name as keyof typeof commands].run(args), UsageError, args.join(' '))
    }
  })

  it('names an option it does not know, and the command that was meant', () => {
    const option = holdfast(['sessions', 'list', '--json'], {})
    assert.deepEqual([option.code, option.err], [2, 'holdfast: there is no option --json (holdfast sessions --help)\n'])
    assert.match(
      holdfast(['session', 'list'], {}).err,
      /^holdfast: there is no command 'session'; did you mean sessions\? /,
    )
  })

  it('says that a store in memory is out of its reach', () => {
    const { code, err } = holdfast(['sessions', 'list'], { HOLDFAST_STORE: 'memory:' })
    assert.equal(code, 1)
    assert.match(err, /^holdfast: HOLDFAST_STORE: memory: [^\n]+\n$/)
  })
})
