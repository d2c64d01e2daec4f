// A process that adds one to the data of a session, so many times, with several calls at once: increment.ts <store> <id> <times>
import { callsAtOnce, storeOf } from './store-of.ts'

const [url, id, times] = process.argv.slice(2) as [string, string, string]
const { store, close } = await storeOf(url)

async function increment(): Promise<void> {
  for (;;) {
    const record = await store.get(id)
    if (record === null) throw new Error('the session is gone')
    const changed = { ...record, data: String(Number(record.data) + 1), version: record.version + 1 }
    if (await store.put(changed, record.version)) return
  }
}

let left = Number(times)
async function some(): Promise<void> {
  while (left-- > 0) await increment()
}
await Promise.all(Array.from({ length: callsAtOnce }, some))
close()
