// The thousand sessions of a contender, started through its own endpoint.
export const sessionCount = 1000

/** Request headers that bring a credential. */
export type Headers = Readonly<Record<string, string>>

/** The headers of each. */
export async function startSessions(port: number): Promise<readonly Headers[]> {
  const sessions: Headers[] = []
  const atOnce = 20
  for (let from = 0; from < sessionCount; from += atOnce) {
    sessions.push(...(await Promise.all(Array.from({ length: atOnce }, (_, i) => startSession(port, from + i)))))
  }
  return sessions
}

async function startSession(port: number, n: number): Promise<Headers> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', headers: { 'x-user': String(n) } })
  const body = await response.text()
  const token = response.headers.get('x-bearer')
  if (token !== null) return { authorization: `Bearer ${token}` }
  const cookies = new Map(response.headers.getSetCookie().map((line) => pair(line.split(';')[0]!)))
  if (!response.ok || cookies.size === 0) throw new Error(`no session for person ${n}: ${response.status} ${body}`)
  return { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') }
}

/** A later cookie of the same name takes the place of an earlier one. */
function pair(text: string): readonly [string, string] {
  const at = text.indexOf('=')
  return [text.slice(0, at), text.slice(at + 1)]
}
