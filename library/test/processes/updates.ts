// A process that changes the session of a token so many times, all at once: updates.ts <store> <token> <times>
import { createSessions } from 'holdfast'
import { storeOf } from '../stores/processes/store-of.ts'

const [url, token, times] = process.argv.slice(2) as [string, string, string]
const { store, close } = await storeOf(url)
const sessions = createSessions({ store, deadline: '10s' })
const session = await sessions.open(token)
await Promise.all(
  Array.from({ length: Number(times) }, () => session.update('count', (n) => ((n as number | undefined) ?? 0) + 1)),
)
close()
