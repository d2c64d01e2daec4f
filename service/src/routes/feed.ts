// The feed for those who follow it from elsewhere: by long poll, which says as of when, or as a stream of events.
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Cursor } from 'holdfast'
import type { Slice } from '../feed-relay.ts'
import { Problem } from '../problems.ts'
import { feedQuery, feedShape } from '../schemas.ts'
import type { App, Service } from '../server.ts'

/** A stream says at least this often as of when it is complete. */
const beatMs = 250
/** A reader that takes nothing for so long is dropped; it finds its place again by Last-Event-ID. */
const slowMs = 5_000

export function feedRoutes(app: App, { relay, state, logger }: Service): void {
  app.get(
    '/v1/feed',
    {
      // It would never end.
      exposeHeadRoute: false,
      config: { permission: 'feed', stream: true },
      schema: {
        operationId: 'followFeed',
        summary: 'Endings and changes: as JSON what came since a cursor, or with Accept: text/event-stream as it comes',
        tags: ['feed'],
        querystring: feedQuery,
        response: { 200: feedShape },
      },
    },
    async (request, reply): Promise<Slice> => {
      const { since = null, wait = 0 } = request.query
      if (request.headers.accept?.includes('text/event-stream') === true) return stream(request, reply, since) as never
      await relay.news(since, wait)
      return relay.read(since) ?? unread()
    },
  )

  function stream(request: FastifyRequest, reply: FastifyReply, since: Cursor | null): FastifyReply {
    if (state.stopping) throw new Problem(503, 'stopping', 'the service is stopping', retryAfter)
    if (relay.read(null) === null) unread()
    const last = request.headers['last-event-id']
    const events = Readable.from(eventsSince(typeof last === 'string' ? last : since), { highWaterMark: 1 })
    reply.raw.setTimeout(slowMs, () => {
      logger.warn({ client: request.client?.id }, 'a follower of the feed took nothing for a while, and was dropped')
      events.destroy()
      reply.raw.destroy()
    })
    // nginx would hold events back.
    return reply.type('text/event-stream; charset=utf-8').header('x-accel-buffering', 'no').send(events)
  }

  /** Made only as fast as they are taken: a slow reader costs no memory. */
  async function* eventsSince(cursor: Cursor | null): AsyncGenerator<string> {
    for (let since = cursor; !state.stopping;) {
      const slice = relay.read(since)!
      since = slice.cursor
      yield events(slice)
      await relay.news(since, beatMs)
    }
  }
}

function events({ notices, gap, cursor, ageMs }: Slice): string {
  const asOf = `event: as-of\ndata: ${JSON.stringify({ cursor, ageMs })}\n\n`
  if (notices.length === 0 && !gap) return asOf
  return `id: ${cursor}\nevent: notices\ndata: ${JSON.stringify({ notices, gap })}\n\n${asOf}`
}

const retryAfter = { headers: { 'retry-after': '1' } }

function unread(): never {
  throw new Problem(503, 'feed-unavailable', 'the feed could not be read yet; try again', retryAfter)
}
