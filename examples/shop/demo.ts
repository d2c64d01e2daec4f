// `npm run demo`: the shop, and what to try with it.
import { setTimeout as sleep } from 'node:timers/promises'
import { missingPackages } from '../../scripts/system.ts'
import { startShop, type Shop } from './start.ts'

const restartAfterMs = 10_000

const missing = missingPackages(['redis-server', 'haproxy', 'python3-jwt', 'python3-cryptography'])
if (missing !== null) {
  console.error(missing)
  process.exit(1)
}
console.log('starting the shop…')
// What they say before all is well is for whoever asks why it is not.
const early: string[] = []
let log = (line: string): void => void early.push(line)
const starting = startShop({ log: (line) => log(line), beforeRestart: () => sleep(restartAfterMs) })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // What is only half started when it fails ends itself.
  process.once(signal, () => void starting.then(({ stop }) => stop(), String).then(() => process.exit()))
}
const shop = await starting.catch((error: unknown) => {
  console.error(early.join('\n'))
  throw error
})
log = console.log
console.log(whatToTry(shop))

function whatToTry({ url, programs }: Shop): string {
  const pid = (name: string) => programs.get(name)!.pid
  const all = [...programs.values()].sort((a, b) => a.name.localeCompare(b.name))
  return `
The shop is open: ${url}

1. Sign in as ada (password tea) and fill the cart. The foot of the page says who answered: another replica each time.
2. Order, and leave the page open: it is live. In a private window sign in as cleo (tea), a clerk, and pack and ship it.
3. Kill a replica of everything, and go on shopping:
     kill -9 ${['storefront-1', 'cart-1', 'orders-1', 'live-1', 'recommendations-1', 'holdfast-1'].map(pid).join(' ')}
4. Kill Redis, reload, put something into the cart. A window that is not signed in goes on to show the shop:
     kill -9 ${pid('redis')}
     curl -si ${url}/ | head -1
   It is back after ${restartAfterMs / 1000} s, as is everything that was killed; you are still signed in, with what was in the cart.
5. Sign in as ada in another private window, and open Orders there. Here: Devices, Sign out everywhere. There the socket closes with 4401.

${all.map(({ name, pid, port }) => `  ${name.padEnd(18)} pid ${String(pid).padEnd(8)} port ${port}`).join('\n')}

Ctrl-C ends all of it.
`
}
