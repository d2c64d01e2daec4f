// The files that can't be run here: they parse, say what matters, and agree with the service, which is started with their settings.
import assert from 'node:assert/strict'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { startHoldfast } from '../../scripts/servers/holdfast.ts'
import { startRedis } from '../../scripts/servers/redis.ts'

// oxlint-disable-next-line typescript/no-explicit-any
type Parsed = any

const deploy = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(deploy, path), 'utf8')

/** Every document of a file, `<<` merged; anything odd in it is an error. */
function documents(path: string): Parsed[] {
  return parseAllDocuments(read(path), { merge: true, strict: true, uniqueKeys: true }).map((document) => {
    assert.deepEqual([...document.errors, ...document.warnings], [], path)
    return document.toJS()
  })
}

const only = (path: string): Parsed => documents(path)[0]

/** A list in the script for HAProxy, which is tested against the service. */
const listed = (name: string) =>
  [
    ...new RegExp(`local ${name} = \\{([^}]*)\\}`).exec(read('haproxy/forward-auth.lua'))![1]!.matchAll(/"([^"]+)"/g),
  ].map(([, text]) => text!)
/** What the answer of forward-auth carries. */
const identity = listed('identity')
const overrides = [
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-method',
  'x-original-url',
  'x-original-uri',
  'x-rewrite-url',
]
const ofProxies = [
  'x-forwarded-method',
  'x-forwarded-uri',
  'x-forwarded-prefix',
  'x-forwarded-port',
  'x-forwarded-server',
  'x-real-ip',
  'forwarded',
]
const secrets = { HOLDFAST_ADMIN_SECRET: 'a'.repeat(43), HOLDFAST_SECRET: 'b'.repeat(43) }

it('every YAML file parses', () => {
  const paths = globSync('**/*.{yaml,yml}', { cwd: deploy })
  assert.ok(paths.length >= 6)
  for (const path of paths) documents(path)
})

it('what is not exercised says so in its first line', () => {
  for (const path of ['traefik/traefik.yaml', 'traefik/dynamic.yaml', 'envoy/envoy.yaml'])
    assert.match(read(path), /^# Not exercised: /)
  assert.equal(identity.length, 7)
})

describe('the proxies that are exercised', () => {
  const nginx = read('nginx/holdfast.conf.template').split(/^ {4}location /m)[1]!
  const caddy = read('caddy/Caddyfile')
  const haproxy = read('haproxy/haproxy.cfg')
  const found = (text: string, pattern: RegExp) =>
    [...text.matchAll(pattern)].map(([, name, kind]) => ({ name: name!, kind }))
  /** Whether it drops what a client sends by that name, whatever else the request is. */
  const drops: Readonly<Record<string, (name: string) => boolean>> = {
    nginx: (name) => found(nginx, /^\s*proxy_set_header (\S+) "";$/gm).some((line) => same(line.name, name)),
    HAProxy: (name) =>
      found(haproxy, /^\s*http-request del-header (\S+)( -m beg)?$/gm).some((line) =>
        line.kind === undefined ? same(line.name, name) : name.startsWith(line.name.toLowerCase()),
      ),
    Caddy: (name) =>
      found(caddy, /^\s*request_header -(\S+)$/gm).some((line) => wildcard(line.name.toLowerCase()).test(name)),
  }

  it('overwrite every header of identity', () => {
    for (const name of identity) {
      assert.match(nginx, new RegExp(`^\\s*proxy_set_header ${name} [$]\\w+;$`, 'mi'), `nginx: ${name}`)
      assert.match(
        caddy,
        new RegExp(`^\\s*request_header ${name} [{]rp[.]header[.]${name}[}]$`, 'mi'),
        `Caddy: ${name}`,
      )
      for (const proxy of ['HAProxy', 'Caddy']) assert.ok(drops[proxy]!(name), `${proxy}: ${name}`)
    }
  })

  it('drop what overrides method and path, and what only a proxy can know', () => {
    for (const [proxy, dropsIt] of Object.entries(drops)) {
      for (const name of [...overrides, ...ofProxies]) assert.ok(dropsIt(name), `${proxy}: ${name}`)
    }
  })
})

describe('Traefik', () => {
  const { routers, middlewares, services } = only('traefik/dynamic.yaml').http
  const removed = Object.entries(middlewares['no-identity-of-clients'].headers.customRequestHeaders)

  it('removes what the client says, in every spelling, before it asks', () => {
    assert.deepEqual(routers.app.middlewares, ['no-identity-of-clients', 'no-upgrade', 'holdfast'])
    assert.deepEqual(routers.websocket.middlewares, ['no-identity-of-clients', 'websocket-alone', 'holdfast'])
    const names = removed.map(([name, value]) => (assert.equal(value, ''), name.toLowerCase()))
    const spellings = (name: string): string[] =>
      name
        .split('-')
        .reduce<string[]>(
          (before, part) =>
            before.length === 0 ? [part] : before.flatMap((text) => [`${text}-${part}`, `${text}_${part}`]),
          [],
        )
    for (const name of [...identity.flatMap(spellings), ...overrides, 'forwarded'])
      assert.ok(names.includes(name), name)
  })

  it('upgrades WebSockets alone, and leaves no word of the client’s in Connection', () => {
    const set = (name: string) => middlewares[name].headers.customRequestHeaders
    assert.deepEqual(set('no-upgrade'), { Connection: '', Upgrade: '' })
    assert.deepEqual(set('websocket-alone'), { Connection: 'Upgrade', Upgrade: 'websocket' })
    // The longer rule is asked first.
    assert.ok(routers.websocket.rule.startsWith(`${routers.app.rule} && HeaderRegexp(\`Upgrade\``))
  })

  it('takes every header of the answer, and nobody else’s word', () => {
    const { address, trustForwardHeader, authResponseHeaders } = middlewares.holdfast.forwardAuth
    assert.match(address, /\/forward-auth$/)
    assert.equal(trustForwardHeader, false)
    assert.deepEqual(lower(authResponseHeaders), identity)
    const { insecure, trustedIPs } = only('traefik/traefik.yaml').entryPoints.web.forwardedHeaders
    assert.deepEqual([insecure, trustedIPs], [false, []])
    assert.ok(services[routers.app.service].loadBalancer.sticky.cookie.name)
  })
})

describe('Envoy', () => {
  const { listeners, clusters } = only('envoy/envoy.yaml').static_resources
  const manager = listeners[0].filter_chains[0].filters[0].typed_config
  const [mutation, authz, router] = manager.http_filters.map((filter: Parsed) => filter.typed_config)

  it('removes what the client says before it asks, and refuses names with _', () => {
    const removed = mutation.mutations.request_mutations.map(({ remove }: { remove: string }) => remove)
    for (const name of [...identity, ...overrides, 'forwarded']) assert.ok(removed.includes(name), name)
    assert.equal(manager.common_http_protocol_options.headers_with_underscores_action, 'REJECT_REQUEST')
    assert.match(router['@type'], /Router$/)
    assert.deepEqual(exact(authz.allowed_headers).toSorted(), listed('judged_by').toSorted())
  })

  it('lets nobody in without an answer, and takes every header of it', () => {
    assert.equal(authz.failure_mode_allow, false)
    assert.equal(authz.http_service.path_prefix, '/forward-auth')
    assert.deepEqual(exact(authz.http_service.authorization_response.allowed_upstream_headers), identity)
    const named = [authz.http_service.server_uri.cluster, manager.route_config.virtual_hosts[0].routes[0].route.cluster]
    assert.deepEqual(
      named,
      clusters.map((cluster: Parsed) => cluster.name),
    )
  })
})

describe('compose.yaml', () => {
  const { services, networks } = only('compose.yaml')

  it('starts the service: its settings are settings, and its rules are read', async () => {
    const { environment } = services['holdfast-1']
    await starts({ ...environment, HOLDFAST_RULES: join(deploy, 'rules.yaml') }, environment)
    assert.deepEqual(services['holdfast-1'].volumes, ['./rules.yaml:/etc/holdfast/rules.yaml:ro'])
    for (const name of ['HOLDFAST_ADMIN_SECRET', 'HOLDFAST_SECRET'])
      assert.match(environment[name], /^\$\{\w+:\?/, 'no secret stands in it')
  })

  it('gives nginx every variable of its template, and what it names is there', () => {
    const { environment } = services.nginx
    const variables = new Set(
      [...read('nginx/holdfast.conf.template').matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name!),
    )
    assert.deepEqual([...variables].sort(), Object.keys(environment).sort())
    for (const name of ['AUTH_1', 'AUTH_2', 'APP_1', 'APP_2'])
      assert.ok(environment[name].split(':')[0] in services, name)
    for (const { depends_on: needed = [] } of Object.values<{ depends_on?: string[] }>(services)) {
      for (const name of needed) assert.ok(name in services, name)
    }
  })

  it('trusts nginx alone, and keeps everybody else from the applications', () => {
    const address = services.nginx.networks.inside.ipv4_address
    assert.equal(services['holdfast-1'].environment.HOLDFAST_TRUSTED_PROXIES, address)
    assert.ok(address.startsWith(networks.inside.ipam.config[0].subnet.split('0/')[0]))
    assert.equal(networks.inside.internal, true)
    for (const name of ['app-1', 'app-2', 'holdfast-1', 'redis']) {
      assert.deepEqual(services[name].networks, ['inside'])
      assert.equal(services[name].ports, undefined)
    }
  })
})

describe('Kubernetes', () => {
  const objects = globSync('kubernetes/*.yaml', { cwd: deploy }).flatMap(documents)
  const one = (kind: string, name = 'holdfast') =>
    objects.find((object) => object.kind === kind && object.metadata.name === name)
  const pod = one('Deployment').spec.template
  const [container] = pod.spec.containers

  it('starts the service: its settings are settings, its rules are read, and its probes are answered', async () => {
    const settings = Object.fromEntries(
      container.env.map(({ name, value, valueFrom }: { name: string; value?: string; valueFrom?: object }) => [
        name,
        value ?? valueFrom,
      ]),
    )
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-rules-'))
    try {
      const rules = join(folder, 'rules.yaml')
      writeFileSync(rules, one('ConfigMap', 'holdfast-rules').data['rules.yaml'])
      const paths = ['startupProbe', 'livenessProbe', 'readinessProbe'].map((probe) => container[probe].httpGet.path)
      await starts({ ...settings, HOLDFAST_RULES: rules }, settings, paths)
    } finally {
      rmSync(folder, { recursive: true })
    }
    for (const name of ['HOLDFAST_ADMIN_SECRET', 'HOLDFAST_SECRET', 'HOLDFAST_STORE']) {
      assert.equal(settings[name].secretKeyRef.name, 'holdfast', 'no secret stands in it')
    }
  })

  it('every selector finds the pods that it is for', () => {
    const labels = [pod, one('StatefulSet', 'holdfast-redis').spec.template].map(
      ({ metadata }) => metadata.labels['app.kubernetes.io/name'],
    )
    const selectors = objects.flatMap(({ kind, spec }) => {
      const selector =
        { Service: spec?.selector, NetworkPolicy: spec?.podSelector?.matchLabels }[kind as string] ??
        spec?.selector?.matchLabels
      return selector === undefined ? [] : [selector['app.kubernetes.io/name']]
    })
    assert.equal(selectors.length, 7)
    for (const selector of selectors) assert.ok(labels.includes(selector), selector)
    assert.equal(one('Deployment').spec.replicas, 3)
    assert.ok(one('PodDisruptionBudget').spec.minAvailable < 3, 'or no node could ever be drained')
  })

  it('stops with enough time for what is under way', () => {
    const [, seconds] = container.lifecycle.preStop.exec.command
    assert.ok(pod.spec.terminationGracePeriodSeconds > Number(seconds) + 10)
    assert.equal(pod.spec.securityContext.runAsNonRoot, true)
  })
})

it('the Dockerfile copies what is there, and does not run as root', () => {
  const text = read('Dockerfile')
  const copied = [...text.matchAll(/^COPY (?!--)(.*) \S+$/gm)].flatMap(([, from]) => from!.split(' '))
  assert.equal(copied.length, 5)
  for (const path of copied) assert.ok(existsSync(join(deploy, '..', path)), path)
  assert.match(text, /^USER node$/m)
  assert.ok(text.indexOf('USER node') < text.indexOf('ENTRYPOINT'))
})

/** The service as it would start there, but for its own port and store. */
async function starts(
  settings: Readonly<Record<string, unknown>>,
  original: object,
  probes: readonly string[] = ['/healthz', '/readyz'],
): Promise<void> {
  assert.ok('HOLDFAST_STORE' in original && 'HOLDFAST_RULES' in original && 'HOLDFAST_TRUSTED_PROXIES' in original)
  const store = await startRedis()
  try {
    const { HOLDFAST_PORT: _, ...others } = settings as Record<string, string>
    const served = await startHoldfast({
      ...others,
      ...secrets,
      HOLDFAST_STORE: store.url,
      HOLDFAST_HOST: '127.0.0.1',
      HOLDFAST_LOG: 'silent',
    })
    try {
      for (const path of probes) assert.equal((await fetch(served.url + path)).status, 200, path)
    } finally {
      await served.stop()
    }
  } finally {
    await store.stop()
  }
}

function same(one: string, other: string): boolean {
  return one.toLowerCase() === other
}

/** `*` is anything. */
function wildcard(pattern: string): RegExp {
  return new RegExp(`^${pattern.replaceAll('.', '[.]').replaceAll('*', '.*')}$`)
}

function lower(names: readonly string[]): readonly string[] {
  return names.map((name) => name.toLowerCase())
}

function exact({ patterns }: { patterns: readonly { exact: string }[] }): readonly string[] {
  return patterns.map(({ exact }) => exact)
}
