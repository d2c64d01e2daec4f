// One verifying process: opens the tokens it knows, all the time, and does what the driver asks. Its argument is a `NodeConfig`.
import { SessionError } from 'holdfast'
import { clock, recorder, watchForStalls, type OpenOutcome } from './history.ts'
import type { Act, FromNode, KnownToken, NodeConfig, Result, ToNode } from './node-protocol.ts'
import { sessionsOf } from './node-sessions.ts'
import { oneOf, randomOf } from './random.ts'

const openEveryMs = 4
const underWayAtMost = 100

const config = JSON.parse(process.argv[2]!) as NodeConfig
const random = randomOf(config.seed)
const record = recorder(config.historyFolder, config.name)
const disturbance = { on: false }
const known = new Map<string, KnownToken>()

// Everything in this process that asks for the time of day gets the wrong one; what the monotonic clock says stays right.
const wallClock = Date.now
let offsetMs = 0
Date.now = () => wallClock() + offsetMs

const sessions = await sessionsOf(config, random, disturbance)

watchForStalls(record, config.name)

let underWay = 0
setInterval(() => {
  if (known.size === 0 || underWay >= underWayAtMost) return
  underWay++
  void open(oneOf(random, [...known.values()])).finally(() => underWay--)
}, openEveryMs)

async function open({ id, token, issuedAt }: KnownToken): Promise<void> {
  const about = { kind: 'open', node: config.name, id, issuedAt } as const
  const began = clock()
  try {
    const session = await sessions.open(token)
    const { userId, roles, refused } = session
    const outcome: OpenOutcome = session.id === id ? 'accepted' : `refused: ${refused}`
    record({ ...about, began, ended: clock(), outcome, userId, roles })
  } catch (error) {
    record({ ...about, began, ended: clock(), outcome: 'failed', userId: null, roles: [], why: nameOf(error) })
  }
}

async function perform(act: Act): Promise<Result> {
  switch (act.do) {
    case 'start': {
      const { userId, roles, credential } = act
      const { session, token, refreshToken } = await sessions.start(userId, { roles, credential })
      return { is: 'given', id: session.id!, token, refreshToken }
    }
    case 'end':
      await sessions.end(act.id)
      return { is: 'done' }
    case 'endUser':
      await sessions.endUser(act.userId)
      return { is: 'done' }
    case 'setRoles':
      await sessions.setRoles(act.userId, act.roles)
      return { is: 'done' }
    case 'signIn': {
      const session = await sessions.open(act.token)
      if (session.id === null) return { is: 'refused', reason: String(session.refused) }
      const { token, refreshToken } = await session.signIn(act.userId, { roles: act.roles })
      return { is: 'given', id: session.id, token, refreshToken }
    }
    case 'refresh': {
      const { session, tokens } = await sessions.refresh(act.refreshToken)
      if (tokens === null) return { is: 'refused', reason: String(session.refused) }
      return { is: 'given', id: session.id!, token: tokens.token, refreshToken: tokens.refreshToken }
    }
  }
}

async function answer(seq: number, act: Act): Promise<void> {
  const began = clock()
  const result = await perform(act).catch((error: unknown): Result => ({ is: 'failed', why: nameOf(error) }))
  tell({ type: 'did', seq, began, ended: clock(), result })
}

function nameOf(error: unknown): string {
  if (error instanceof SessionError) return `${error.code}: ${error.message}`
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}

function tell(message: FromNode): void {
  process.send!(message)
}

process.on('message', (message: ToNode) => {
  switch (message.type) {
    case 'know':
      for (const token of message.tokens) known.set(token.token, token)
      return
    case 'forget':
      for (const token of message.tokens) known.delete(token)
      return
    case 'clock':
      offsetMs = message.offsetMs
      return
    case 'disturb':
      disturbance.on = message.on
      return
    case 'act':
      void answer(message.seq, message.act)
  }
})
process.on('disconnect', () => process.exit())
tell({ type: 'ready' })
