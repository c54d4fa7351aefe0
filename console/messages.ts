// /v1/messages, /v1/trace and /v1/actions: what is queued, what is known of a message or an address, and what operators do to mail.

import { createRoute, type OpenAPIHono } from '@hono/zod-openapi'
import { canonicalDomain } from '../mail/address.ts'
import { byRecipient, type ControlAction, type ControlRequest, refusalOf } from '../mail/control.ts'
import { chooseMessages, choosesRecipients, concerning, countMatching, isEmpty, type QueueFilter } from '../store/filter.ts'
import { readMessage } from '../store/messages.ts'
import { listQueue } from '../store/queue.ts'
import { traceAddress } from '../store/trace.ts'
import { readView } from '../store/view.ts'
import type { ApiDeps } from './api.ts'
import { type ApiEnvironment, needs } from './auth.ts'
import { controlAll, controlOne, toWake } from './control.ts'
import { byNextHop } from './next-hops.ts'
import { answers, idParameter, jsonBody, ok } from './routes.ts'
import { actedSchema, actionSchema, bulkActedSchema, bulkActionSchema, type FilterInput, messageSchema, queueQuerySchema, queueSchema, tracedSchema, traceQuerySchema } from './schemas.ts'

const list = createRoute({
  method: 'get', path: '/v1/messages', summary: 'What is queued', tags: ['messages'], middleware: [needs('read')] as const,
  request: { query: queueQuerySchema }, responses: { ...ok('A page of the queue.', queueSchema), ...answers(401, 403, 422, 503) },
})
const show = createRoute({
  method: 'get', path: '/v1/messages/{id}', summary: 'All that is known of a message', tags: ['messages'], middleware: [needs('read')] as const,
  request: { params: idParameter }, responses: { ...ok('The message, queued or settled.', messageSchema), ...answers(401, 403, 404, 422, 503) },
})
const trace = createRoute({
  method: 'get', path: '/v1/trace', summary: 'All messages from or to an address, queued or settled, newest first', tags: ['messages'], middleware: [needs('read')] as const,
  request: { query: traceQuerySchema }, responses: { ...ok('A row for each message from the address, and for each recipient that is the address.', tracedSchema), ...answers(401, 403, 422, 503) },
})
const act = createRoute({
  method: 'post', path: '/v1/messages/{id}/actions', summary: 'Hold, release, retry, reroute, expire, bounce, drop or set the lifetime', tags: ['actions'],
  middleware: [needs('control')] as const, request: { params: idParameter, body: jsonBody(actionSchema) },
  responses: { ...ok('It is done.', actedSchema), ...answers(400, 401, 403, 404, 409, 415, 422, 503) },
})
const actAll = createRoute({
  method: 'post', path: '/v1/actions', summary: 'The same on all that match', tags: ['actions'], middleware: [needs('control')] as const,
  request: { body: jsonBody(bulkActionSchema) }, responses: { ...ok('What was done.', bulkActedSchema), ...answers(400, 401, 403, 415, 422, 503) },
})

export function messageRoutes(app: OpenAPIHono<ApiEnvironment>, deps: ApiDeps): void {
  const { sql, wake, routing } = deps
  const filterOf = async ({ ids, sender, recipient, user, client, domain, nextHop, before, status, reply }: FilterInput): Promise<QueueFilter> => ({
    ids, sender, recipient, user, client, status, reply,
    domain: domain === undefined ? undefined : canonicalDomain(domain),
    nextHop: nextHop === undefined ? undefined : await byNextHop(sql, nextHop, routing),
    before: timeOf(before),
  })

  app.openapi(list, async (context) => {
    const { sort, limit, page, ...filter } = context.req.valid('query')
    const messages = await listQueue(sql, { filter: await filterOf(filter), order: sort, limit, offset: (page - 1) * limit })
    return context.json({ messages }, 200) as never
  })

  app.openapi(show, async (context) => {
    const { id } = context.req.valid('param')
    const view = await readView(sql, id)
    return (view ? context.json(view, 200) : context.json({ error: `there is no message ${id}` }, 404)) as never
  })

  app.openapi(trace, async (context) => {
    const { address, since, until, limit } = context.req.valid('query')
    const messages = await traceAddress(sql, address, { limit, since: timeOf(since), until: timeOf(until) })
    return context.json({ messages }, 200) as never
  })

  app.openapi(act, async (context) => {
    const { id } = context.req.valid('param')
    const { action, ...rest } = context.req.valid('json')
    const request = requestOf(action, context.get('token').name, rest)
    const fault = refusalOf(request)
    if (fault) return context.json({ error: fault }, 422) as never
    if (!(await readMessage(sql, id))) return context.json({ error: `there is no message ${id}` }, 404) as never
    const result = await controlOne(deps, id, request)
    if (!('refused' in result)) wake(id)
    return ('refused' in result ? context.json({ error: result.refused }, 409) : context.json(result, 200)) as never
  })

  app.openapi(actAll, async (context) => {
    const { action, filter: given, dryRun, limit, after = '', ...rest } = context.req.valid('json')
    const request = requestOf(action, context.get('token').name, rest)
    const filter = concerning(await filterOf(given), action)
    const fault = refusalOf(request) ?? (isEmpty(filter) ? "the filter is empty; sender '*' means every message" : null)
    if (fault) return context.json({ error: fault }, 422) as never
    const [matched, chosen] = await Promise.all([countMatching(sql, filter), chooseMessages(sql, filter, after, limit)])
    const single = byRecipient(action) && choosesRecipients(filter)
    const told = dryRun ? { done: [], busy: [], refused: [] } : await controlAll(deps, request, chosen.map(({ id, recipients }) => ({ id, recipients: single ? recipients : null })))
    for (const id of toWake(told)) wake(id)
    const refused = told.refused.map(({ id, why }) => ({ id, error: why }))
    return context.json({ matched, done: told.done.length, refused, last: chosen.at(-1)?.id ?? null }, 200) as never
  })
}

const timeOf = (text: string | undefined) => (text === undefined ? undefined : new Date(text))

function requestOf(action: ControlAction, token: string, rest: Omit<Partial<ControlRequest>, 'who' | 'action'>): ControlRequest {
  return { why: '', ...rest, action, who: `token:${token}` }
}
