// The balancer in front of the instances, as docs/guide/sticky.md has it, with their addresses filled in.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { startHaproxy } from '../scripts/servers/haproxy.ts'
import { startNginx } from '../scripts/servers/nginx.ts'

export interface Balancer {
  readonly url: string
  /** Until it sends requests to the instance of this name. */
  untilUp(name: string): Promise<void>
  stop(): Promise<void>
}

/** Names of the blocks of the guide that begin with what is here. */
const kinds = {
  cookie: { language: 'haproxy', has: 'backend instances' },
  hash: { language: 'nginx', has: 'upstream instances' },
  'round robin': { language: 'haproxy', has: 'backend replicas' },
} as const
export type BalancerKind = keyof typeof kinds

const guide = join(import.meta.dirname, '../docs/guide/sticky.md')

/** `ports` of its instances, in the guide's order. */
export async function startBalancer(kind: BalancerKind, ports: readonly number[]): Promise<Balancer> {
  const { language } = kinds[kind]
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-balancer-'))
  const socket = join(folder, 'admin.sock')
  const file = join(folder, language)
  const config = block(kind).replaceAll(/10\.0\.0\.(\d):\d+/g, (_, n: string) => `127.0.0.1:${ports[Number(n) - 1]}`)
  if (language === 'nginx') {
    writeFileSync(file, config.replace('listen 80;', 'listen 127.0.0.1:${PORT};'))
    const server = await startNginx(file)
    return { url: server.url, untilUp: () => sleep(nginxRetriesMs), stop: () => stop(() => server.stop()) }
  }
  const admin = `global\n  stats socket ${socket} mode 600\n\n`
  writeFileSync(file, admin + config.replace(/bind :\d+/, 'bind 127.0.0.1:"${PORT}"'))
  const server = await startHaproxy(file)
  return { url: server.url, untilUp: (name) => untilUp(socket, name), stop: () => stop(() => server.stop()) }

  async function stop(end: () => Promise<void>): Promise<void> {
    await end()
    rmSync(folder, { recursive: true })
  }
}

/** `fail_timeout`, after which nginx tries an instance again; nobody can ask it. */
const nginxRetriesMs = 2_100

function block(kind: BalancerKind): string {
  const { language, has } = kinds[kind]
  const blocks = readFileSync(guide, 'utf8').matchAll(new RegExp(`\`\`\`${language}\\n([^]+?)\`\`\``, 'g'))
  const found = [...blocks].map(([, code]) => code!).find((code) => code.includes(has))
  if (found === undefined) throw new Error(`${guide} has no configuration with '${has}'`)
  return found
}

/** HAProxy has no event for it; 50 ms between two looks. */
async function untilUp(socket: string, name: string): Promise<void> {
  for (;;) {
    const asked = connect(socket)
    asked.end('show stat\n')
    const rows = (await text(asked)).split('\n').map((row) => row.split(','))
    const status = rows[0]!.indexOf('status')
    if (rows.some((row) => row[1] === name && row[status]!.startsWith('UP'))) return
    await sleep(50)
  }
}
