// The proxies' files line by line. Those that can't be run here: every field is one that there is, and they say what matters.
import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { join, relative } from 'node:path'
import { describe, it } from 'node:test'
import { deploy, documents, manifests, only, read, type Parsed } from './parsed.ts'
import { compose } from './shapes/compose.ts'
import { envoy } from './shapes/envoy.ts'
import { kubernetes } from './shapes/kubernetes.ts'
import { dynamic, install } from './shapes/traefik.ts'

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

const shapes: Readonly<Record<string, { safeParse(it: unknown): { success: boolean; error?: unknown } }>> = {
  'compose.yaml': compose,
  'envoy/envoy.yaml': envoy,
  'traefik/dynamic.yaml': dynamic,
  'traefik/traefik.yaml': install,
  ...Object.fromEntries(manifests.map((path) => [path, kubernetes])),
}
/** By them sites are started, and the service. */
const exercised = [
  'caddy/Caddyfile',
  'haproxy/forward-auth.lua',
  'haproxy/haproxy.cfg',
  'nginx/holdfast.conf.template',
  'rules.yaml',
]

it('every YAML file has the fields that there are, in their places, and no others', () => {
  const paths = globSync('**/*.{yaml,yml}', { cwd: deploy }).filter((path) => !exercised.includes(path))
  assert.deepEqual(paths.toSorted(), Object.keys(shapes).toSorted())
  for (const path of paths) {
    for (const document of documents(path)) assert.ifError(shapes[path]!.safeParse(document).error)
  }
})

it('a misspelt field is noticed, wherever it stands', () => {
  // Below these are names of the reader's own choice.
  const chosen =
    /(labels|matchLabels|selector|data|environment|customRequestHeaders|services|networks|volumes|routers|middlewares|serversTransports|entryPoints)$/
  for (const [path, shape] of Object.entries(shapes)) {
    for (const document of documents(path)) {
      for (const { at, misspell } of fieldsOf(document)) {
        if (chosen.test(at.slice(0, -1).join('.')) && !chosen.test(at.at(-1)!)) continue
        const correct = misspell()
        assert.equal(shape.safeParse(document).success, false, `${path}: ${at.join('.')}`)
        correct()
      }
      assert.ok(shape.safeParse(document).success)
    }
  }
})

it('what is not exercised says so in its first line', () => {
  const files = globSync('**', { cwd: deploy, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(relative(deploy, entry.parentPath), entry.name))
    .filter((path) => !path.startsWith('test/') && !exercised.includes(path) && path !== 'Dockerfile.dockerignore')
  assert.deepEqual(files.toSorted(), ['Dockerfile', ...Object.keys(shapes)].toSorted())
  for (const path of files) assert.match(read(path), /^# Not (exercised|applied|started|built)\b/, path)
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
  const { routers, middlewares, services, serversTransports } = only('traefik/dynamic.yaml').http
  const { entryPoints } = only('traefik/traefik.yaml')
  const removed = Object.entries(middlewares['no-identity-of-clients'].headers.customRequestHeaders)

  it('removes what the client says, in every spelling, before it asks', () => {
    assert.deepEqual(routers.app.middlewares, ['no-identity-of-clients', 'no-upgrade', 'holdfast', 'other-instance'])
    assert.deepEqual(routers.websocket.middlewares, [
      'no-identity-of-clients',
      'websocket-alone',
      'holdfast',
      'other-instance',
    ])
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
    const { trustForwardHeader, preserveLocationHeader, authResponseHeaders } = middlewares.holdfast.forwardAuth
    assert.deepEqual([trustForwardHeader, preserveLocationHeader], [false, true])
    assert.deepEqual(lower(authResponseHeaders), identity)
    const { forwardedHeaders, http } = entryPoints.web
    assert.deepEqual([forwardedHeaders.trustedIPs, http.sanitizePath], [[], false])
    const parts = ['', '~1', '~2', '-refresh'].map((end) => `__Host-session${end}`)
    assert.deepEqual(middlewares.holdfast.forwardAuth.addAuthCookiesToResponse, parts)
    for (const { entryPoints: open, service } of [routers.app, routers.websocket]) {
      assert.deepEqual(open, ['web'])
      assert.ok(services[service].loadBalancer.sticky.cookie.name)
    }
  })

  it('asks the replicas that are alive, and sends again only what was not sent', () => {
    const { address } = middlewares.holdfast.forwardAuth
    const { origin, pathname } = new URL(address)
    const { rule, entryPoints: open, middlewares: between, service } = routers.question
    assert.equal(rule, `Path(\`${pathname}\`)`)
    assert.deepEqual(open, ['question'])
    assert.equal(origin, `http://${entryPoints.question.address}`)
    assert.match(origin, /^http:\/\/127\.0\.0\.1:/, 'nobody outside is believed')
    assert.deepEqual(entryPoints.question.forwardedHeaders.trustedIPs, ['127.0.0.1/32'])
    const { servers, healthCheck, serversTransport } = services[service].loadBalancer
    assert.ok(servers.length >= 2 && serversTransport in serversTransports)
    assert.equal(healthCheck.path, '/healthz')
    // In front of the middleware holdfast it would ask for each refusal anew.
    for (const name of [...between, routers.app.middlewares.at(-1), routers.websocket.middlewares.at(-1)])
      assert.ok(middlewares[name].retry.attempts > 1, name)
  })
})

describe('Envoy', () => {
  const { listeners, clusters } = only('envoy/envoy.yaml').static_resources
  const manager = listeners[0].filter_chains[0].filters[0].typed_config
  const [mutation, authz, router] = manager.http_filters.map((filter: Parsed) => filter.typed_config)

  it('removes what the client says before it asks, and refuses names with _', () => {
    const removed = mutation.mutations.request_mutations.map(({ remove }: { remove: string }) => remove)
    for (const name of [...identity, ...overrides, ...ofProxies, 'x-forwarded-host'])
      assert.ok(removed.includes(name), name)
    assert.equal(manager.common_http_protocol_options.headers_with_underscores_action, 'REJECT_REQUEST')
    assert.match(router['@type'], /Router$/)
    assert.deepEqual(exact(authz.allowed_headers).toSorted(), listed('judged_by').toSorted())
  })

  it('lets nobody in without an answer, and takes every header of it', () => {
    assert.equal(authz.failure_mode_allow, false)
    assert.equal(authz.http_service.path_prefix, '/forward-auth')
    const answer = authz.http_service.authorization_response
    assert.deepEqual(exact(answer.allowed_upstream_headers), identity)
    assert.deepEqual(exact(answer.allowed_client_headers_on_success), ['set-cookie'])
    assert.deepEqual(new Set(exact(answer.allowed_client_headers)), new Set(listed('passed_on')))
    const named = [authz.http_service.server_uri.cluster, manager.route_config.virtual_hosts[0].routes[0].route.cluster]
    assert.deepEqual(
      named,
      clusters.map((cluster: Parsed) => cluster.name),
    )
  })

  it('judges the host and path that go on, for its own host alone', () => {
    const { use_remote_address, normalize_path, strip_any_host_port } = manager
    assert.deepEqual([use_remote_address, normalize_path, strip_any_host_port], [true, true, true])
    const { virtual_hosts } = manager.route_config
    assert.ok(virtual_hosts.every(({ domains }: Parsed) => domains.every((domain: string) => !domain.includes('*'))))
  })

  it('asks another replica when one dies, and sends nothing to the application twice', () => {
    const [question, request] = [authz.http_service, manager.route_config.virtual_hosts[0].routes[0].route]
    // A 5xx is an answer: the store is away.
    assert.equal(question.retry_policy.retry_on, 'connect-failure,refused-stream,reset')
    assert.equal(request.retry_policy.retry_on, 'connect-failure')
    for (const { retry_policy } of [question, request]) {
      assert.ok(retry_policy.num_retries >= 1)
      assert.equal(retry_policy.retry_host_predicate.length, 1, 'elsewhere')
    }
    for (const { load_assignment, health_checks, outlier_detection } of clusters) {
      assert.ok(load_assignment.endpoints[0].lb_endpoints.length >= 2)
      assert.ok(health_checks ?? outlier_detection)
    }
  })
})

/** Every field of a document, and what misspells it, which answers what corrects that. */
function fieldsOf(
  it: unknown,
  at: readonly string[] = [],
): readonly { at: readonly string[]; misspell(): () => void }[] {
  if (Array.isArray(it)) return it.flatMap((item) => fieldsOf(item, at))
  if (typeof it !== 'object' || it === null) return []
  const object = it as Record<string, unknown>
  return Object.keys(object).flatMap((name) => [
    {
      at: [...at, name],
      misspell() {
        const value = object[name]
        delete object[name]
        object[`${name}x`] = value
        return () => {
          delete object[`${name}x`]
          object[name] = value
        }
      },
    },
    ...fieldsOf(object[name], [...at, name]),
  ])
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
