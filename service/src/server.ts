// The HTTP server: what every call has in common stands here, each call itself in routes/.
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import fastify, { LogController, type FastifyBaseLogger, type FastifyInstance, type RawServerDefault } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { ServerResponse } from 'node:http'
import type { Credentials, Sessions, Store } from 'holdfast'
import type { Keyring } from 'holdfast/credentials/keyring'
import type { FindClient } from './clients.ts'
import type { FeedRelay } from './feed-relay.ts'
import { addBodies, validate } from './http/bodies.ts'
import { addAuthentication } from './http/hooks.ts'
import type { FailureLimits } from './http/limits.ts'
import { addRefusals, answerBrokenRequest, sendProblem } from './http/refusals.ts'
import type { Logger } from './logs.ts'
import type { Metrics } from './metrics.ts'
import { addOpenApi } from './openapi.ts'
import { asProblem } from './problems.ts'
import { assertionRoutes } from './routes/assertions.ts'
import { dataRoutes } from './routes/data.ts'
import { feedRoutes } from './routes/feed.ts'
import { addForwardAuth, type ForwardAuth } from './routes/forward-auth.ts'
import { healthRoutes } from './routes/health.ts'
import { oauthRoutes } from './routes/oauth.ts'
import { sessionRoutes } from './routes/sessions.ts'
import type { AnyData } from './routes/shown.ts'
import { signInRoutes } from './routes/sign-in.ts'
import { userRoutes } from './routes/users.ts'
import { wellKnownRoutes } from './routes/well-known.ts'

/** What the calls work with. */
export interface Service {
  readonly sessions: Sessions<AnyData>
  /** The one below `sessions`. */
  readonly store: Store
  readonly storeShown: string
  readonly relay: FeedRelay
  /** The kind of credentials that has refresh tokens. */
  readonly signed: Credentials
  readonly keys: Keyring
  readonly issuer: string
  readonly clients: FindClient
  readonly limits: FailureLimits
  readonly metrics: Metrics
  readonly logger: Logger
  readonly state: { stopping: boolean }
  readonly forwardAuth: ForwardAuth
}

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>

export const bodyLimit = 1_048_576
const maxHeaderSize = 16_384
/** A whole request, headers and body, must have come within this. */
const requestTimeout = 30_000
const headersTimeout = 10_000
const connectionsCheckingInterval = 2_000

/** Ready to listen. */
export async function createServer(service: Service): Promise<App> {
  const app: App = fastify({
    // Fastify's own lines say what ours say better, but for what goes wrong.
    loggerInstance: service.logger.child({}, { level: 'warn' }) as FastifyBaseLogger,
    // One line per request is written by a hook; a logger per request would cost more than the line.
    childLoggerFactory: (logger) => logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit,
    requestTimeout,
    keepAliveTimeout: 72_000,
    http: { maxHeaderSize, headersTimeout, connectionsCheckingInterval, requireHostHeader: false },
    // A client's address is that of its connection; X-Forwarded-* says what anyone likes.
    trustProxy: false,
    // While stopping, requests on connections that are open are still answered.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 4096 },
    clientErrorHandler: (error: Error & { code?: string }, socket: Socket) => answerBrokenRequest(error, socket),
    frameworkErrors: (error, request, reply) => {
      void sendProblem(asProblem(error), request, reply, service.logger)
    },
    genReqId: requestIds(),
  }).withTypeProvider<ZodTypeProvider>()

  app.setValidatorCompiler(({ schema }) => validate(schema))
  // Types say what an answer is; checking it again at each answer would cost more than the answer.
  app.setSerializerCompiler(() => JSON.stringify)
  addBodies(app)
  addRefusals(app, service.logger)
  addAuthentication(app, service)
  await addOpenApi(app)
  for (const add of routes) add(app, service)
  addForwardAuth(app, service)
  await app.ready()
  return app
}

const routes = [
  signInRoutes,
  sessionRoutes,
  assertionRoutes,
  dataRoutes,
  userRoutes,
  feedRoutes,
  oauthRoutes,
  wellKnownRoutes,
  healthRoutes,
]

/** Short, and different in every process. */
function requestIds(): () => string {
  const process = Math.floor(Math.random() * 2 ** 40).toString(36)
  let count = 0
  return () => `${process}-${(++count).toString(36)}`
}
