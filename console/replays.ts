// POST /v1/replays: failed recipients are queued again, one message or all that match.

import { createRoute, type OpenAPIHono } from '@hono/zod-openapi'
import { canonicalDomain } from '../mail/address.ts'
import { parseNextHop } from '../mail/route.ts'
import { findFailed, replayMessage } from '../store/replay.ts'
import type { ApiDeps } from './api.ts'
import { type ApiEnvironment, needs } from './auth.ts'
import { answers, jsonBody, ok } from './routes.ts'
import { replayedSchema, replaySchema } from './schemas.ts'

const route = createRoute({
  method: 'post', path: '/v1/replays', summary: 'Queue failed recipients again; who was delivered to is never sent to again', tags: ['actions'],
  middleware: [needs('control')] as const, request: { body: jsonBody(replaySchema) },
  responses: { ...ok('What was queued again; `released`: the body is no longer kept.', replayedSchema), ...answers(400, 401, 403, 415, 422, 503) },
})

export function replayRoutes(app: OpenAPIHono<ApiEnvironment>, { sql, findRecipients, wake, lifetimeOf, retention }: ApiDeps): void {
  app.openapi(route, async (context) => {
    const { id, sender, recipient, domain, reply, since, dead, nextHop, to, why, dryRun, perSecond, limit, after, released } = context.req.valid('json')
    const everything = [id, sender, recipient, domain, reply, since].every((value) => value === undefined) && !dead
    if (everything) return context.json({ error: "the filter is empty; sender '*' means every message" }, 422) as never
    if (typeof nextHop === 'string') parseNextHop(nextHop)
    const instead = to === undefined ? undefined : (await findRecipients([to])).map(({ forwardPath }) => forwardPath)
    const filter = { sender, recipient, reply, dead, domain: domain && canonicalDomain(domain), since: since === undefined ? undefined : new Date(since) }
    const found = await findFailed(sql, filter, { id, after, limit, released: released || id !== undefined })
    const messages = found.map(({ id, recipients, failedAt, released }) => ({ id, recipients, failedAt, released }))
    const ready = dryRun ? [] : found.filter((message) => !message.released)
    const begun = performance.now()
    let replayed = 0
    for (const [i, message] of ready.entries()) {
      const due = perSecond === undefined ? 0 : (i * 1000) / perSecond
      const queued = await replayMessage(sql, {
        ...filter, given: id !== undefined, id: message.id, who: `token:${context.get('token').name}`, why, nextHop, to: instead,
        after: Math.max(0, begun + due - performance.now()),
        lifetime: lifetimeOf(message.reversePath, message.user), retention,
      })
      // Somebody else was faster.
      if (queued.length === 0) continue
      replayed++
      // What is due later is started by the outbox.
      if (due < 1000) wake(message.id)
    }
    return context.json({ replayed, messages, last: messages.at(-1)?.id ?? null }, 200) as never
  })
}
