// For orchestrators and monitoring: alive, ready, measured. Open to everyone, and tells nothing of anyone's session.
import { Problem } from '../problems.ts'
import { healthShape, noQuery, readyShape } from '../schemas.ts'
import type { App, Service } from '../server.ts'

export function healthRoutes(app: App, { sessions, metrics, storeShown, state }: Service): void {
  app.get(
    '/healthz',
    {
      schema: {
        operationId: 'health',
        summary: 'The process is alive, whatever the store does',
        tags: ['operation'],
        security: [],
        querystring: noQuery,
        response: { 200: healthShape },
      },
    },
    async () => ({ status: 'ok' as const }),
  )

  app.get(
    '/readyz',
    {
      schema: {
        operationId: 'ready',
        summary: 'Calls can be answered: the store was just asked, and the service is not stopping',
        tags: ['operation'],
        security: [],
        querystring: noQuery,
        response: { 200: readyShape },
      },
    },
    async () => {
      if (state.stopping)
        throw new Problem(503, 'stopping', 'the service is stopping', { headers: { 'retry-after': '1' } })
      const asked = performance.now()
      await sessions.get(neverIssued)
      const storeMs = microseconds(performance.now() - asked)
      // An old view is no reason to go: the store, which answers, is asked then.
      const { ageMs, lagMs } = sessions.status()!
      return {
        status: 'ready' as const,
        store: storeShown,
        storeMs,
        feed: {
          ageMs: Number.isFinite(ageMs) ? microseconds(ageMs) : null,
          lagMs: lagMs === null ? null : microseconds(lagMs),
        },
      }
    },
  )

  app.get(
    '/metrics',
    { schema: { operationId: 'metrics', summary: 'Prometheus metrics', tags: ['operation'], security: [] } },
    async (_request, reply) => reply.type('text/plain; version=0.0.4; charset=utf-8').send(await metrics.text()),
  )
}

/** Rounded, in ms. */
function microseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000
}

/** A session id in form; being drawn would take more luck than guessing a key. */
const neverIssued = 'A'.repeat(22)
