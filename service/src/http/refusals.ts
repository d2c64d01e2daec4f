// Answers that are refusals: problems everywhere, in the words of RFC 6749 as well where OAuth clients listen.
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from '../logs.ts'
import { asProblem, Problem, problemType } from '../problems.ts'
import type { App } from '../server.ts'
import { InvalidInput } from './bodies.ts'

export function addRefusals(app: App, logger: Logger): void {
  const routes: { method: string; pattern: RegExp }[] = []

  app.addHook('onRoute', ({ method, url }) => {
    const pattern = new RegExp(`^${url.replaceAll('.', '\\.').replace(/:\w+/g, '[^/]+').replace(/\*$/, '.*')}$`)
    for (const one of [method].flat()) routes.push({ method: one, pattern })
  })

  app.setErrorHandler((error, request, reply) =>
    send(error instanceof InvalidInput ? error.problem() : asProblem(error), request, reply),
  )

  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0]!
    const allowed = [...new Set(routes.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method))]
    if (allowed.length === 0)
      return send(new Problem(404, 'not-found', 'there is no such call; /openapi.json lists all'), request, reply)
    const allow = allowed.join(', ')
    return send(
      new Problem(405, 'method-not-allowed', `this path takes ${allow}`, { headers: { allow } }),
      request,
      reply,
    )
  })

  function send(problem: Problem, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    return sendProblem(problem, request, reply, logger)
  }
}

export function sendProblem(
  problem: Problem,
  request: FastifyRequest,
  reply: FastifyReply,
  logger: Logger,
): FastifyReply {
  // Why it failed is for the log; what the caller sent is not.
  if (problem.status === 500) logger.error({ id: request.id, err: problem.cause }, 'failed')
  reply
    .code(problem.status)
    .headers(problem.headers)
    .headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
  // A path that can't be decoded has no route.
  const form = request.routeOptions?.config?.form === true
  const body = form ? { error: oauthError(problem), error_description: problem.message, ...problem.toJSON() } : problem
  return reply.type(form ? 'application/json; charset=utf-8' : problemType).send(JSON.stringify(body))
}

/** RFC 6749, section 5.2. */
function oauthError({ status, code }: Problem): string {
  if (code === 'unauthorized_client') return code
  if (status === 401) return 'invalid_client'
  if (status === 403) return 'unauthorized_client'
  if (status === 429 || status === 503) return 'temporarily_unavailable'
  return status >= 500 ? 'server_error' : 'invalid_request'
}

/** Bytes that are no HTTP, or too many of them, never reach a call. */
export function answerBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const body = JSON.stringify(brokenRequest(error.code ?? ''))
  const { status } = brokenRequest(error.code ?? '')
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: ${problemType}\r\ncache-control: no-store\r\n` +
      `x-content-type-options: nosniff\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

function brokenRequest(code: string): Problem {
  if (code === 'HPE_HEADER_OVERFLOW') return new Problem(431, 'headers-too-large', 'the headers are larger than 16 KiB')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new Problem(408, 'timeout', 'the request did not arrive in time')
  return new Problem(400, 'invalid-request', 'this is not HTTP as it should be')
}
