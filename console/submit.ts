// POST /v1/messages: submission by HTTP, through the same acceptance as SMTP's.

import { createHash } from 'node:crypto'
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { getConnInfo } from '@hono/node-server/conninfo'
import type { Context } from 'hono'
import { isAscii } from '../mail/address.ts'
import { year } from '../mail/control.ts'
import type { Envelope, Origin, Recipient } from '../mail/envelope.ts'
import { postgresTime } from '../store/clock.ts'
import type { Sql } from '../store/database.ts'
import { submitOnce } from '../store/submissions.ts'
import type { ApiDeps } from './api.ts'
import { type ApiEnvironment, needs } from './auth.ts'
import { composeMessage, withCrlf } from './compose.ts'
import { answers, jsonBody } from './routes.ts'
import { acceptedSchema, keySchema, rawQuerySchema, submissionSchema } from './schemas.ts'

export interface Submission {
  content: Uint8Array
  envelope: Envelope
  origin: Origin
  sendAt: Date | null
  /** Milliseconds of queue lifetime. */
  lifetime: number
}

/** A submission is not taken; `code`: as SMTP would reply. */
export class SubmissionRefused extends Error {
  readonly code: number

  constructor(code: number, text: string) {
    super(text)
    this.code = code
  }
}

/** Stores the message by way of `sql`, which may be a transaction; throws SubmissionRefused. */
export type Submit = (sql: Sql, submission: Submission) => Promise<string>
/** Recipients of the envelope, for the addresses that were given: aliases are followed, as at RCPT. Throws as Submit does. */
export type FindRecipients = (addresses: string[]) => Promise<Recipient[]>

const given = { 200: { description: 'Accepted before under this key.', content: { 'application/json': { schema: acceptedSchema } } } }
const taken = { 201: { description: 'The message is committed: it is ours.', content: { 'application/json': { schema: acceptedSchema } } } }
const problems = answers(400, 401, 403, 409, 413, 415, 422, 503)

const json = createRoute({
  method: 'post', path: '/v1/messages', summary: 'Submit a message given in parts', tags: ['messages'], middleware: [needs('submit')] as const,
  request: { headers: keySchema, body: jsonBody(submissionSchema) }, responses: { ...given, ...taken, ...problems },
})
const raw = createRoute({
  method: 'post', path: '/v1/messages/raw', summary: 'Submit a whole message (RFC 5322)', tags: ['messages'], middleware: [needs('submit')] as const,
  request: { headers: keySchema, query: rawQuerySchema, body: { required: true, content: { 'message/rfc822': { schema: z.string().openapi({ format: 'binary' }) } } } },
  responses: { ...given, ...taken, ...problems },
})

export function submitRoutes(app: OpenAPIHono<ApiEnvironment>, { sql, submit, findRecipients, begin, maximalRecipients, lifetimeOf }: ApiDeps): void {
  app.openapi(json, async (context) => {
    const submission = context.req.valid('json')
    const recipients = [...submission.to, ...submission.cc, ...submission.bcc]
    return (await take(context, { ...submission, recipients }, () => composeMessage(submission), submission)) as never
  })

  app.openapi(raw, async (context) => {
    if (!/^message\/rfc822\b/i.test(context.req.header('content-type') ?? '')) return context.json({ error: 'send the message as message/rfc822' }, 415) as never
    const { to, ...rest } = context.req.valid('query')
    const content = withCrlf(Buffer.from(await context.req.arrayBuffer()))
    if (content.length === 0) return context.json({ error: 'the message is empty' }, 422) as never
    const asked = { ...rest, to, content: createHash('sha256').update(content).digest('hex') }
    return (await take(context, { ...rest, recipients: [to].flat() }, async () => content, asked)) as never
  })

  async function take(
    context: Context<ApiEnvironment>, given: { from: string; recipients: string[]; replyTo?: string | undefined; sendAt?: string | undefined; lifetime?: number | undefined },
    compose: () => Promise<Buffer>, asked: unknown,
  ): Promise<Response> {
    const { from, replyTo = '' } = given
    const to = [...new Set(given.recipients)]
    if (to.length === 0) return context.json({ error: 'there is no recipient: give to, cc or bcc' }, 422)
    if (to.length > maximalRecipients) return context.json({ error: `more than ${maximalRecipients} recipients (settings: limits.recipients)` }, 422)
    const sendAt = given.sendAt === undefined ? null : new Date(given.sendAt)
    if (sendAt && sendAt.getTime() > postgresTime() + year) return context.json({ error: 'sendAt is more than a year ahead' }, 422)
    const { name } = context.get('token')
    const user = `token:${name}`
    const most = lifetimeOf(from, user)
    const { lifetime = most } = given
    if (lifetime > most) return context.json({ error: `lifetime: at most ${most}, as the settings say for this sender` }, 422)
    const recipients = await findRecipients(to)
    const content = await compose()
    const envelope: Envelope = {
      reversePath: from, recipients, body: content.some((octet) => octet > 127) ? '8BIT' : '7BIT',
      // RFC 6531: such addresses stand in the envelope, and in the header fields that are made of them.
      smtpUtf8: ![from, replyTo, ...to, ...recipients.map(({ forwardPath }) => forwardPath)].every(isAscii),
      requireTls: false, ret: null, envid: null,
    }
    const origin: Origin = {
      protocol: 'HTTP', helo: '', clientAddress: getConnInfo(context).remote.address?.replace(/^::ffff:/i, '') ?? '', clientName: null, tls: null, user,
    }
    const submission = { content, envelope, origin, sendAt, lifetime }
    const key = context.req.header('idempotency-key')
    if (key === undefined) {
      const id = await submit(sql, submission)
      begin(id, submission)
      return context.json({ id, repeated: false }, 201)
    }
    const request = createHash('sha256').update(JSON.stringify(asked)).digest()
    const result = await submitOnce(sql, { token: name, key, request }, (tx) => submit(tx, submission))
    if (result === 'other request') return context.json({ error: 'this key led to a message already, by another request' }, 409)
    if (!result.repeated) begin(result.id, submission)
    return context.json(result, result.repeated ? 200 : 201)
  }
}
