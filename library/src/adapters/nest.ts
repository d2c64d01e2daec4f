// Sessions for NestJS, on Express and on Fastify.
import type { CanActivate, ExceptionFilter, ExecutionContext } from '@nestjs/common'
import { SessionError } from '../errors.ts'
import { connectMiddleware, type ConnectMiddleware } from '../internal/connect.node.ts'
import { guard } from '../internal/guard.ts'
import { problem } from '../internal/problem.ts'
import type { Requirement, Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

/**
 * `app.use(sessionMiddleware(sessions))`, or `consumer.apply(…)` in a module. On Fastify register `sessionPlugin` of
 * `holdfast/adapters/fastify` instead; what follows works with both. `sessionErrors` answers when it fails.
 */
export function sessionMiddleware<Data>(sessions: Sessions<Data>): ConnectMiddleware {
  return connectMiddleware((exchange) => sessions.open(exchange))
}

/** The session of a request, for a parameter: `const CurrentSession = createParamDecorator((_, context) => sessionIn(context))`. */
export function sessionIn<Data = Record<string, unknown>>(context: ExecutionContext): Session<Data> {
  return context.switchToHttp().getRequest<{ session: Session<Data> }>().session
}

/** `@UseGuards(requires('orders:read'))`: whoever is not signed in gets 401, who may not 403. */
export function requires(what: string | Requirement): CanActivate {
  return {
    canActivate(context) {
      guard(sessionIn(context), what)
      return true
    },
  }
}

/**
 * `app.useGlobalFilters(sessionErrors())` answers errors of sessions as `application/problem+json`: 503 with `Retry-After` when the store
 * can't answer, 403 for a cross-site request. All others are left to the other filters.
 */
export function sessionErrors(): ExceptionFilter<SessionError> {
  class SessionErrors implements ExceptionFilter<SessionError> {
    catch(error: SessionError, host: Parameters<ExceptionFilter['catch']>[1]): void {
      const { status, headers, body } = problem(error)
      // Express's response and Fastify's reply have these in common.
      const answer = host
        .switchToHttp()
        .getResponse<Record<'header' | 'status' | 'send', (...a: unknown[]) => unknown>>()
      for (const header of Object.entries(headers)) answer.header(...header)
      answer.status(status)
      answer.send(body)
    }
  }
  // What `@Catch(SessionError)` does; Nest brings `Reflect.defineMetadata` along.
  const { defineMetadata } = Reflect as unknown as { defineMetadata(key: string, value: unknown, target: object): void }
  defineMetadata('__filterCatchExceptions__', [SessionError], SessionErrors)
  return new SessionErrors()
}
