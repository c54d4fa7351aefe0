// The HTTP API as a whole: its routes below /v1, each for a token with the right scope, and its OpenAPI document.

import { bodyLimit } from 'hono/body-limit'
import { HTTPException } from 'hono/http-exception'
import { OpenAPIHono } from '@hono/zod-openapi'
import type { Logger } from 'pino'
import type { Sql } from '../store/database.ts'
import type { Retention } from '../store/recipients.ts'
import { type ApiEnvironment, bearer } from './auth.ts'
import { contentRoutes } from './content.ts'
import type { Naming } from './destination-name.ts'
import { destinationRoutes } from './destinations.ts'
import { eventRoutes } from './events.ts'
import { messageRoutes } from './messages.ts'
import { replayRoutes } from './replays.ts'
import { type FindRecipients, type Submission, SubmissionRefused, type Submit, submitRoutes } from './submit.ts'

export interface ApiDeps {
  sql: Sql
  log: Logger
  submit: Submit
  findRecipients: FindRecipients
  /** Starts the workflow of a message, without waiting for that; the outbox does it otherwise. */
  begin: (id: string, of: Submission) => void
  /** The same, and wakes the workflow where one runs. */
  wake: (id: string) => void
  /** Where mail goes by the settings, and what they call its destinations. */
  routing: Naming
  maximalRecipients: number
  /** Octets of a request. */
  maximalSize: number
  retention: Retention
  /** Milliseconds over which what waited for a destination comes back. */
  resumeOver: number
  /** Queue lifetime for a reverse-path and who submits with it, in milliseconds. */
  lifetimeOf: (reversePath: string, user: string | null) => number
  version: string
  stopping: AbortSignal
}

/** The API, for the server to add its other routes to. */
export function apiRoutes(deps: ApiDeps): OpenAPIHono<ApiEnvironment> {
  const app = new OpenAPIHono<ApiEnvironment>({
    defaultHook: (result, context) => {
      if (result.success) return
      const faults = result.error.issues.map((issue) => `${issue.path.join('.') || 'the request'}: ${issue.message}`)
      return context.json({ error: faults.join('; ') }, 422)
    },
  })
  app.use('/v1/*', bearer(deps.sql))
  app.use('/v1/*', async (context, next) => {
    const known = methodsOf(app, context.req.path)
    if (known.size > 0 && !known.has(context.req.method)) {
      context.header('allow', [...known].join(', '))
      return context.json({ error: `${context.req.method} is not for this path` }, 405)
    }
    const { method } = context.req
    const type = context.req.header('content-type') ?? ''
    const raw = context.req.path === '/v1/messages/raw'
    if (method === 'POST' && !raw && !/^application\/json\b/i.test(type)) return context.json({ error: 'send JSON, as application/json' }, 415)
    return await next()
  })
  app.use('/v1/*', bodyLimit({ maxSize: deps.maximalSize, onError: (context) => context.json({ error: `larger than ${deps.maximalSize} octets` }, 413) }))
  submitRoutes(app, deps)
  destinationRoutes(app, deps)
  messageRoutes(app, deps)
  contentRoutes(app, deps)
  replayRoutes(app, deps)
  eventRoutes(app, deps)
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' })
  app.doc31('/v1/openapi.json', { openapi: '3.1.0', info: { title: 'Everpost', version: deps.version }, security: [{ bearer: [] }] })
  app.notFound((context) => context.json({ error: 'there is nothing here; /v1/openapi.json tells what there is' }, 404))
  app.onError((error, context) => {
    const { message } = error
    // An SMTP refusal says the same over HTTP.
    if (error instanceof SubmissionRefused) return context.json({ error: message }, error.code === 552 ? 413 : error.code < 500 ? 503 : 422)
    if (error instanceof RangeError) return context.json({ error: message }, 422)
    if (error instanceof HTTPException) return context.json({ error: message }, error.status)
    deps.log.error({ error: String(error), path: context.req.path }, 'an API request failed')
    return context.json({ error: 'it cannot be done now; the log tells why' }, 503)
  })
  return app
}

function methodsOf(app: OpenAPIHono<ApiEnvironment>, path: string): Set<string> {
  const routes = app.routes.filter((route) => route.method !== 'ALL')
  const exact = routes.filter((route) => route.path === path)
  const matching = routes.filter((route) => new RegExp(`^${route.path.replace(/:\w+/g, '[^/]+')}$`).test(path))
  return new Set((exact.length > 0 ? exact : matching).map((route) => route.method))
}
