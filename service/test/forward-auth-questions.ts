// A service with rules, and the questions that a proxy puts to it, header by header as they go over the wire.
import { request } from 'node:http'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serviceOn, type TestService } from './service.ts'

export const rules = `
signIn: /sign-in
trustedOrigins: [https://accounts.example]
roles:
  shopper: [orders:read]
  clerk: ['orders:*']
rules:
  - { host: shop.example, path: /sign-in, allow: public }
  - { host: shop.example, path: /catalogue/*, allow: public, audience: catalogue }
  - { host: shop.example, path: /orders/*, methods: [GET, HEAD], allow: signed-in, permission: 'orders:read', audience: orders }
  - { host: shop.example, path: /orders/*, allow: signed-in, permission: 'orders:write', audience: orders }
  - { host: shop.example, path: /account/password, allow: signed-in, within: 5m }
  - { host: shop.example, path: /account/bank, allow: signed-in, acr: [aal2, aal3] }
  - { host: shop.example, path: /account/*, allow: signed-in }
  - { host: '*.partners.example', path: /*, allow: public }
`

export interface Reply {
  readonly status: number
  /** By lower-case name; several of one name are several values. */
  readonly all: Readonly<Record<string, readonly string[]>>
  header(name: string): string | undefined
  readonly text: string
}

export interface Question {
  readonly method?: string
  readonly host?: string
  readonly uri?: string
  /** Session cookie. */
  readonly token?: string
  /** More headers, names and values by turns. */
  readonly more?: readonly string[]
  /** In place of what describes the request. */
  readonly describe?: readonly string[]
  /** Of the question itself. */
  readonly path?: string
  readonly ownMethod?: string
  readonly ownHost?: string
}

export interface Asked extends TestService {
  ask(question?: Question): Promise<Reply>
}

export function rulesFile(text: string): string {
  const file = join(mkdtempSync(join(tmpdir(), 'holdfast-rules-')), 'rules.yaml')
  writeFileSync(file, text)
  return file
}

export async function askedService(store: string, env: Record<string, string> = {}): Promise<Asked> {
  const service = await serviceOn(store, {
    HOLDFAST_RULES: rulesFile(rules),
    HOLDFAST_TRUSTED_PROXIES: '10.0.0.0/8, 127.0.0.0/8',
    ...env,
  })
  // `lines` is made anew each time.
  return Object.create(service, { ask: { value: (o: Question = {}) => ask(service.url, o) } }) as Asked
}

function ask(url: string, o: Question): Promise<Reply> {
  const { method = 'GET', host = 'shop.example', uri = '/catalogue', token, more = [] } = o
  const { path = '/forward-auth', ownMethod = 'GET', ownHost = '127.0.0.1' } = o
  const describe = o.describe ?? ['X-Forwarded-Method', method, 'X-Forwarded-Host', host, 'X-Forwarded-Uri', uri]
  const cookie = token === undefined ? [] : ['Cookie', `theme=dark; __Host-session=${token}`]
  return raw(url, ownMethod, path, ['Host', ownHost, ...describe, ...cookie, ...more])
}

function raw(url: string, method: string, path: string, headers: readonly string[]): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url)
    const sent = request({ hostname, port, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => {
        const all: Record<string, string[]> = {}
        const { rawHeaders } = response
        for (let i = 0; i < rawHeaders.length; i += 2)
          (all[rawHeaders[i]!.toLowerCase()] ??= []).push(rawHeaders[i + 1]!)
        const text = Buffer.concat(chunks).toString()
        resolve({ status: response.statusCode!, all, text, header: (name) => all[name.toLowerCase()]?.join(', ') })
      })
    })
    sent.on('error', reject)
    sent.end()
  })
}
