// A process that starts sessions and ends every third one until it is killed, and says what was acknowledged: writer.ts <store> <name>
import { storeOf } from './store-of.ts'

const [url, name] = process.argv.slice(2) as [string, string]
const { store } = await storeOf(url)
const now = Date.now()

for (let i = 0; ; i++) {
  const id = `${name}-${i}`
  const record = {
    id,
    userId: `user-${name}`,
    credential: '',
    identity: '{}',
    data: `${i}`.padStart(300),
    createdAt: now,
    seenAt: now,
    expiresAt: now + 3_600_000,
    epoch: 0,
    version: 1,
  }
  if (!(await store.put(record, null))) throw new Error('the id was taken')
  process.stdout.write(`+${id}\n`)
  if (i % 3 !== 0) continue
  await store.delete([id])
  process.stdout.write(`-${id}\n`)
}
