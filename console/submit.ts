// POST /v1/messages: submission by HTTP, through the same acceptance as SMTP's.

import { createHash } from 'node:crypto'
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { getConnInfo } from '@hono/node-server/conninfo'
import type { Context } from 'hono'
import type { Envelope, Origin } from '../mail/envelope.ts'
import type { Sql } from '../store/database.ts'
import { submitOnce } from '../store/submissions.ts'
import type { ApiDeps } from './api.ts'
import { type ApiEnvironment, needs } from './auth.ts'
import { composeMessage, withCrlf } from './compose.ts'
import { answers, jsonBody } from './routes.ts'
import { acceptedSchema, keySchema, rawQuerySchema, submissionSchema } from './schemas.ts'

/** Stores the message by way of `sql`, which may be a transaction; throws a refusal with an SMTP reply code. */
export type Submit = (sql: Sql, content: Uint8Array, envelope: Envelope, origin: Origin, sendAt: Date | null) => Promise<string>

const year = 366 * 86_400_000
const given = { 200: { description: 'Accepted before under this key.', content: { 'application/json': { schema: acceptedSchema } } } }
const taken = { 201: { description: 'The message is committed: it is ours.', content: { 'application/json': { schema: acceptedSchema } } } }
const problems = answers(401, 403, 409, 413, 415, 422, 503)

const json = createRoute({
  method: 'post', path: '/v1/messages', summary: 'Submit a message given in parts', tags: ['messages'], middleware: [needs('submit')] as const,
  request: { headers: keySchema, body: jsonBody(submissionSchema) }, responses: { ...given, ...taken, ...problems },
})
const raw = createRoute({
  method: 'post', path: '/v1/messages/raw', summary: 'Submit a whole message (RFC 5322)', tags: ['messages'], middleware: [needs('submit')] as const,
  request: { headers: keySchema, query: rawQuerySchema, body: { required: true, content: { 'message/rfc822': { schema: z.string().openapi({ format: 'binary' }) } } } },
  responses: { ...given, ...taken, ...problems },
})

export function submitRoutes(app: OpenAPIHono<ApiEnvironment>, { sql, submit, begin, maximalRecipients }: ApiDeps): void {
  app.openapi(json, async (context) => {
    const submission = context.req.valid('json')
    const recipients = [...submission.to, ...submission.cc, ...submission.bcc]
    return (await take(context, submission.from, recipients, submission.sendAt, () => composeMessage(submission), submission)) as never
  })

  app.openapi(raw, async (context) => {
    if (!/^message\/rfc822\b/i.test(context.req.header('content-type') ?? '')) return context.json({ error: 'send the message as message/rfc822' }, 415) as never
    const { from, to, sendAt } = context.req.valid('query')
    const content = withCrlf(Buffer.from(await context.req.arrayBuffer()))
    if (content.length === 0) return context.json({ error: 'the message is empty' }, 422) as never
    return (await take(context, from, [to].flat(), sendAt, async () => content, { from, to, sendAt, content: createHash('sha256').update(content).digest('hex') })) as never
  })

  async function take(
    context: Context<ApiEnvironment>, from: string, all: string[], time: string | undefined, content: () => Promise<Buffer>, asked: unknown,
  ): Promise<Response> {
    const recipients = [...new Set(all)]
    if (recipients.length === 0) return context.json({ error: 'there is no recipient: give to, cc or bcc' }, 422)
    if (recipients.length > maximalRecipients) return context.json({ error: `more than ${maximalRecipients} recipients (settings: limits.recipients)` }, 422)
    const sendAt = time === undefined ? null : new Date(time)
    if (sendAt && sendAt.getTime() > Date.now() + year) return context.json({ error: 'sendAt is more than a year ahead' }, 422)
    const { name } = context.get('token')
    const message = await content()
    const envelope: Envelope = {
      reversePath: from, recipients: recipients.map((forwardPath, n) => ({ n, forwardPath, notify: [], orcpt: null })),
      body: message.some((octet) => octet > 127) ? '8BITMIME' : '7BIT', smtpUtf8: false, requireTls: false, ret: null, envid: null,
    }
    const origin: Origin = {
      protocol: 'HTTP', helo: '', clientAddress: getConnInfo(context).remote.address?.replace(/^::ffff:/i, '') ?? '', clientName: null, tls: null, user: `token:${name}`,
    }
    const key = context.req.header('idempotency-key')
    if (key === undefined) {
      const id = await submit(sql, message, envelope, origin, sendAt)
      begin(id)
      return context.json({ id, repeated: false }, 201)
    }
    const request = createHash('sha256').update(JSON.stringify(asked)).digest()
    const result = await submitOnce(sql, { token: name, key, request }, (tx) => submit(tx, message, envelope, origin, sendAt))
    if (result === 'other request') return context.json({ error: 'this key led to a message already, by another request' }, 409)
    if (!result.repeated) begin(result.id)
    return context.json(result, result.repeated ? 200 : 201)
  }
}
