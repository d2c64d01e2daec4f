// Load from the other core: wrk with one thread, closed loop, going round through prepared requests.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadCore } from './machine.ts'

export interface Request {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | undefined
}

export interface Load {
  readonly requests: number
  readonly seconds: number
  readonly p50Ms: number
  readonly p99Ms: number
}

export const connections = 32

/**
 * Sends `requests`, one after the other and from the start again, for that many seconds. With `once` each is sent one time and
 * the load ends with the last. Rejects when any answer was not a 2xx.
 */
export async function load(
  port: number,
  requests: readonly Request[],
  o: { seconds: number; once?: boolean; connections?: number },
): Promise<Load> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-wrk-'))
  try {
    const script = join(folder, 'load.lua')
    const file = join(folder, 'requests')
    writeFileSync(script, lua)
    writeFileSync(file, requests.map((request) => frame(raw(request))).join(''))
    const wrk = ['wrk', '-t1', `-c${o.connections ?? connections}`, `-d${o.seconds}s`, '--timeout', '10s', '-s', script]
    const output = await run('taskset', [
      '-c',
      loadCore,
      ...wrk,
      `http://127.0.0.1:${port}`,
      '--',
      file,
      String(o.once ?? false),
    ])
    return parse(output, o.seconds)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** wrk reports at the end through `done`; the requests are read once and sent as they are. */
const lua = `
local requests, last, once, sent = {}, 0, false, 0
function init(args)
  local file = io.open(args[1], 'rb')
  while true do
    local length = file:read('*l')
    if length == nil then break end
    last = last + 1
    requests[last] = file:read(tonumber(length))
  end
  file:close()
  once = args[2] == 'true'
end
function request()
  if once and sent >= last then wrk.thread:stop() end
  sent = sent + 1
  return requests[(sent - 1) % last + 1]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('RESULT %d %d %f %f %d %d\\n', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
`

function frame(request: string): string {
  return `${Buffer.byteLength(request)}\n${request}`
}

function raw({ method, path, headers, body }: Request): string {
  const lines = Object.entries({ Host: '127.0.0.1', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  const length = body === undefined ? '' : `Content-Length: ${Buffer.byteLength(body)}\r\n`
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}${length}\r\n${body ?? ''}`
}

async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`${command} ended with ${code}\n${output}`)
  return output
}

function parse(output: string, seconds: number): Load {
  const found = /^RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+) (\d+)$/m.exec(output)
  if (found === null) throw new Error(`wrk gave no result\n${output}`)
  const [requests, durationUs, p50Us, p99Us, refused, broken] = found.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  if (refused + broken > 0 || requests === 0) {
    throw new Error(`of ${requests} requests in ${seconds} s ${refused} were refused and ${broken} broke\n${output}`)
  }
  return { requests, seconds: durationUs / 1e6, p50Ms: p50Us / 1000, p99Ms: p99Us / 1000 }
}
