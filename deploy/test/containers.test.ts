// Compose, Kubernetes and the image: what they name is there, and the service starts with their settings.
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { startHoldfast } from '../../scripts/servers/holdfast.ts'
import { startPostgres } from '../../scripts/servers/postgres.ts'
import { startRedis } from '../../scripts/servers/redis.ts'
import { deploy, documents, manifests, only, read, type Parsed } from './parsed.ts'

const secrets = { HOLDFAST_ADMIN_SECRET: 'a'.repeat(43), HOLDFAST_SECRET: 'b'.repeat(43) }

describe('compose.yaml', () => {
  const { services, networks } = only('compose.yaml')

  it('starts the service on either store: its settings are settings, and its rules are read', async () => {
    const { environment } = services['holdfast-1']
    await starts({ ...environment, HOLDFAST_RULES: join(deploy, 'rules.yaml') }, environment)
    assert.equal(environment.HOLDFAST_STORE, '${HOLDFAST_STORE:-redis://redis:6379}')
    const { POSTGRES_USER: user, POSTGRES_DB: database } = services.postgres.environment
    assert.ok(read('compose.yaml').includes(`"postgres://${user}:$password@postgres:5432/${database}"`))
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
    for (const name of Object.keys(services).filter((each) => each !== 'nginx')) {
      assert.deepEqual(services[name].networks, ['inside'])
      assert.equal(services[name].ports, undefined)
    }
  })
})

describe('Kubernetes', () => {
  const objects = manifests.flatMap(documents)
  const one = (kind: string, name = 'holdfast') =>
    objects.find((object) => object.kind === kind && object.metadata.name === name)
  const pod = one('Deployment').spec.template
  const [container] = pod.spec.containers

  it('starts the service on either store: its settings are settings, its rules are read, and its probes are answered', async () => {
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

  it('its rules are those of rules.yaml', () => {
    const text = one('ConfigMap', 'holdfast-rules').data['rules.yaml']
    assert.deepEqual(parse(text), only('rules.yaml'))
  })

  it('the store may be Redis or PostgreSQL, and each is reached', () => {
    const said = read('kubernetes/holdfast.yaml')
    const egress = one('NetworkPolicy').spec.egress.flatMap(({ ports }: Parsed) =>
      ports.map(({ port }: Parsed) => port),
    )
    const stores = objects.filter(({ kind }) => kind === 'StatefulSet')
    assert.deepEqual(
      new Set(stores.map(({ metadata }) => metadata.name)),
      new Set(['holdfast-postgres', 'holdfast-redis']),
    )
    for (const { metadata, spec } of stores) {
      const { containerPort } = spec.template.spec.containers[0].ports[0]
      const [{ port }] = one('Service', metadata.name).spec.ports
      assert.equal(port, containerPort)
      assert.ok(egress.includes(containerPort), `${containerPort} is shut`)
      assert.match(
        said,
        new RegExp(`store="?(redis|postgres)://[^ ]*${metadata.name}:${port}\\b`),
        'the key of the secret',
      )
      const [{ from }] = one('NetworkPolicy', metadata.name).spec.ingress
      assert.deepEqual(from[0].podSelector.matchLabels, pod.metadata.labels)
    }
  })

  it('every name of a port, volume and key is there', () => {
    for (const { kind, spec } of objects.filter((object) => object.spec?.template !== undefined)) {
      const { containers, volumes = [] } = spec.template.spec
      const claims = kind === 'StatefulSet' ? spec.volumeClaimTemplates.map(({ metadata }: Parsed) => metadata) : []
      const kept = [...volumes, ...claims].map(({ name }) => name)
      for (const { ports, volumeMounts, startupProbe, livenessProbe, readinessProbe, env = [] } of containers) {
        for (const { name } of volumeMounts) assert.ok(kept.includes(name), name)
        for (const probe of [startupProbe, livenessProbe, readinessProbe]) {
          const asked = probe?.httpGet?.port ?? probe?.tcpSocket?.port
          if (asked !== undefined)
            assert.ok(
              ports.some(({ name }: Parsed) => name === asked),
              asked,
            )
        }
        const keys = env.flatMap(({ valueFrom }: Parsed) =>
          valueFrom === undefined ? [] : [valueFrom.secretKeyRef.key],
        )
        for (const key of keys) assert.ok(read('kubernetes/holdfast.yaml').includes(`--from-literal=${key}=`), key)
      }
    }
  })

  it('every selector finds the pods that it is for', () => {
    const labels = objects
      .filter((object) => object.spec?.template !== undefined)
      .map(({ spec }) => spec.template.metadata.labels['app.kubernetes.io/name'])
    const selectors = objects.flatMap(({ kind, spec }) => {
      const selector =
        { Service: spec?.selector, NetworkPolicy: spec?.podSelector?.matchLabels }[kind as string] ??
        spec?.selector?.matchLabels
      return selector === undefined ? [] : [selector['app.kubernetes.io/name']]
    })
    assert.equal(selectors.length, 10)
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

/** The service as it would start there, on each of the stores, but for its own port and theirs. */
async function starts(
  settings: Readonly<Record<string, unknown>>,
  original: object,
  probes: readonly string[] = ['/healthz', '/readyz'],
): Promise<void> {
  assert.ok('HOLDFAST_STORE' in original && 'HOLDFAST_RULES' in original && 'HOLDFAST_TRUSTED_PROXIES' in original)
  for (const startStore of [startRedis, startPostgres]) {
    const store = await startStore()
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
}
