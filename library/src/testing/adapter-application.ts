// The application that the contract of adapters mounts, and a store that can be taken away from it.
import type { Session, Store } from '../index.ts'
import type { AdapterAnswer, AdapterRequest } from './adapter.ts'

type AnySession = Session<Record<string, unknown>>

/** Whether the store answers. */
export interface Weather {
  store: 'up' | 'down'
}

export function failing(store: Store, weather: Readonly<Weather>): Store {
  const guard = <A extends unknown[], T>(call: (...args: A) => Promise<T>) => {
    return async (...args: A): Promise<T> => {
      if (weather.store === 'down') throw new Error('connection lost')
      return call(...args)
    }
  }
  return {
    get: guard(store.get),
    put: guard(store.put),
    delete: guard(store.delete),
    listByUser: guard(store.listByUser),
  }
}

export async function application(
  session: AnySession,
  { path, body }: AdapterRequest,
  weather: Weather,
): Promise<AdapterAnswer> {
  const add = (item: string) =>
    session.update('cart', (items) => [...((items as string[] | undefined) ?? []), item]) as Promise<string[]>
  const turns = /^\/who-after\/(\d+)$/.exec(path)?.[1]
  if (turns !== undefined) {
    for (let i = 0; i < Number(turns); i++) await new Promise((resolve) => setImmediate(resolve))
    return seen(session)
  }
  switch (path.split('?', 1)[0]) {
    case '/who':
      return seen(session)
    case '/cart':
      return { status: 200, body: JSON.stringify(await add(body)) }
    case '/cart-in-outage':
      weather.store = 'down'
      return { status: 200, body: JSON.stringify(await add(body)) }
    case '/sign-in':
      await session.signIn(body)
      return seen(session)
    case '/sign-in-twice':
      await session.signIn('first')
      await session.signIn(body)
      return seen(session)
    case '/sign-in-and-out':
      await session.signIn(body)
      await session.end()
      return seen(session)
    case '/sign-in-with-theme':
      await session.signIn(body)
      return { ...seen(session), headers: ownHeaders }
    case '/sign-in-then-fail':
      await session.signIn(body)
      session.require('orders:read')
      return seen(session)
    case '/sign-out':
      await session.end()
      return { status: 204 }
    case '/orders':
      session.require('orders:read')
      return { status: 200, body: '[]' }
    case '/too-much':
      await add('x'.repeat(70_000))
      return { status: 200 }
    case '/update-after-end':
      await session.end()
      await add('tea')
      return { status: 200 }
    default:
      return { status: 404 }
  }
}

const ownHeaders = [
  ['Set-Cookie', 'theme=dark; Path=/'],
  ['Set-Cookie', 'language=en; Path=/'],
  ['Vary', 'Accept'],
  ['X-Own', 'yes'],
] as const

function seen({ id, userId, refused }: AnySession): AdapterAnswer {
  return { status: 200, body: JSON.stringify({ id, userId, refused }) }
}
