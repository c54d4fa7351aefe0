// /v1/destinations: what each next hop is owed, how it does, and an operator's word on it.

import { createRoute, type OpenAPIHono } from '@hono/zod-openapi'
import { limitDestination, readDestinations, releaseWaiting, resumeDestination, suspendByWord } from '../store/destinations.ts'
import { summariseDestinations } from '../store/destination-traffic.ts'
import type { ApiDeps } from './api.ts'
import { type ApiEnvironment, needs } from './auth.ts'
import { destinationName } from './destination-name.ts'
import { answers, jsonBody, ok } from './routes.ts'
import { destinationActedSchema, destinationActionSchema, destinationsSchema } from './schemas.ts'

const list = createRoute({
  method: 'get', path: '/v1/destinations', summary: 'What waits for each destination, and how it does', tags: ['destinations'], middleware: [needs('read')] as const,
  responses: { ...ok('Those that are waited for, or had traffic in this hour or the one before.', destinationsSchema), ...answers(401, 403, 503) },
})
const act = createRoute({
  method: 'post', path: '/v1/destinations', summary: 'Suspend, resume (which closes an open circuit too) or limit a destination', tags: ['destinations'], middleware: [needs('control')] as const,
  request: { body: jsonBody(destinationActionSchema) },
  responses: { ...ok('It is done; `woken`: messages that waited for it.', destinationActedSchema), ...answers(400, 401, 403, 415, 422, 503) },
})

export function destinationRoutes(app: OpenAPIHono<ApiEnvironment>, { sql, routing, resumeOver }: ApiDeps): void {
  app.openapi(list, async (context) => {
    const [destinations, control] = await Promise.all([summariseDestinations(sql), readDestinations(sql)])
    return context.json({ destinations, control }, 200) as never
  })

  app.openapi(act, async (context) => {
    const { name: given, action, why, time, concurrency, rate } = context.req.valid('json')
    const who = `token:${context.get('token').name}`
    const { name } = await destinationName(sql, routing, given)
    if (action === 'suspend') {
      if (time === undefined) return context.json({ error: 'suspend needs time, in milliseconds' }, 422) as never
      await suspendByWord(sql, name, { time, who, why, spread: resumeOver })
      return context.json({ woken: 0 }, 200) as never
    }
    if (action === 'limit') {
      if (concurrency === undefined && rate === undefined) return context.json({ error: 'limit needs concurrency or rate; null takes a limit away' }, 422) as never
      await limitDestination(sql, name, { concurrency, rate })
    } else {
      await resumeDestination(sql, name, who)
    }
    return context.json({ woken: await releaseWaiting(sql, name, resumeOver) }, 200) as never
  })
}
