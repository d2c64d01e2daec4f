// What speaks to an adapter under test: real HTTP, with the headers exactly as given, twice if need be.
import { request as httpRequest } from 'node:http'

export interface Sent {
  readonly method?: string
  readonly headers?: readonly (readonly [name: string, value: string])[]
  readonly body?: string
}

export interface Reply {
  readonly status: number
  readonly text: string
  /** Of every line of that name. */
  all(name: string): readonly string[]
  /** The lines of that name as one, `null` when there is none. */
  header(name: string): string | null
}

export function send(url: string, { method = 'GET', headers = [], body = '' }: Sent): Promise<Reply> {
  const { host } = new URL(url)
  const own = [
    ['Host', host],
    ['Content-Length', String(Buffer.byteLength(body))],
    ['Content-Type', 'text/plain'],
  ]
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, agent: false, headers: [...headers, ...own].flat() }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('error', reject)
      response.on('end', () => {
        const lines = response.rawHeaders
        const all = (name: string) => lines.filter((_, i) => i % 2 === 1 && lines[i - 1]!.toLowerCase() === name)
        const header = (name: string) => (all(name).length > 0 ? all(name).join(', ') : null)
        resolve({ status: response.statusCode!, text, all, header })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

/** Keeps cookies by name and sends them back, from the site's own pages. Attributes are not its business. */
export class Browser {
  readonly cookies: Map<string, string>
  readonly #url: string

  constructor(url: string, cookies: Iterable<readonly [string, string]> = []) {
    this.#url = url
    this.cookies = new Map(cookies)
  }

  get(path: string): Promise<Reply> {
    return this.send(path, {})
  }
  post(path: string, body = ''): Promise<Reply> {
    return this.send(path, { method: 'POST', body })
  }

  async send(path: string, { headers = [['Sec-Fetch-Site', 'same-origin']], ...rest }: Sent): Promise<Reply> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const all = cookie === '' ? headers : [...headers, ['Cookie', cookie] as const]
    const reply = await send(this.#url + path, { ...rest, headers: all })
    for (const line of reply.all('set-cookie')) this.#keep(line)
    return reply
  }

  #keep(line: string): void {
    const pair = line.split(';', 1)[0]!
    const name = pair.slice(0, pair.indexOf('='))
    if (/; *max-age=0\b/i.test(line)) this.cookies.delete(name)
    else this.cookies.set(name, pair.slice(name.length + 1))
  }

  /** Another one with the same cookies, such as a thief's. */
  copy(): Browser {
    return new Browser(this.#url, this.cookies)
  }
}
