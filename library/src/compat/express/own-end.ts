// A store in which each session ends when its own cookie says so.
import type { Store, SweepableStore } from '../../store.ts'
import { ownEnd, section, type Kept } from './section.ts'

/**
 * `store`, whose records live no longer than what express-session keeps in them says; `idleMs` is for those that live as long as the browser. The
 * sessions above it know only one limit, `absoluteMs`.
 */
export function endingByCookie(store: Store, idleMs: number, absoluteMs: number): Store {
  const wrapped: Store & Partial<SweepableStore> = {
    async get(id, o) {
      const record = await store.get(id, o)
      // Compared with what was given to `put`, which knew nothing of the cookie.
      return record !== null && o?.settles === true ? { ...record, expiresAt: record.createdAt + absoluteMs } : record
    },
    put(record, expected, o) {
      const kept = (JSON.parse(record.data) as Record<string, Kept | undefined>)[section]
      const end = kept === undefined ? Infinity : ownEnd(kept['cookie'], record.seenAt, idleMs)
      return store.put({ ...record, expiresAt: Math.min(record.expiresAt, end) }, expected, o)
    },
    delete: (ids, o) => store.delete(ids, o),
    listByUser: (userId, o) => store.listByUser(userId, o),
  }
  if ('sweep' in store) wrapped.sweep = (limit) => (store as SweepableStore).sweep(limit)
  return wrapped
}
