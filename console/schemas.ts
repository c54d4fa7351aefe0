// What the HTTP API takes and gives, as schemas: they check requests and make the OpenAPI document.

import { z } from '@hono/zod-openapi'
import { parsePath } from '../mail/address.ts'
import { controlActions, year } from '../mail/control.ts'
import { eventKinds } from '../mail/event-kinds.ts'
import { queueIdPattern } from '../mail/queue-id.ts'
import { queueStatuses } from '../store/filter.ts'
import { queueOrders } from '../store/queue.ts'

// Of what is beyond ASCII, what Unicode has in its first plane: other programs read these patterns too, and not all of them know more.
const beyond = '\\u00a1-\\ud7ff\\uf900-\\ufffd'
const atom = `[A-Za-z0-9!#$%&'*+/=?^_\`{|}~${beyond}-]{1,64}`
const label = `[A-Za-z0-9${beyond}]([A-Za-z0-9${beyond}-]{0,61}[A-Za-z0-9${beyond}])?`

/** A dot-atom at a host name (RFC 5321 section 4.1.2, RFC 6531 section 3.3). */
const addressSchema = z
  .string()
  .max(254)
  .regex(new RegExp(`^${atom}(\\.${atom})*@${label}(\\.${label})*$`), 'an address, such as bob@example.test')
  .superRefine((address, context) => {
    const path = parsePath(`<${address}>`)
    if ('problem' in path) context.addIssue({ code: 'custom', message: path.problem })
  })
  .openapi({ example: 'bob@example.test' })

export const idSchema = z.string().regex(queueIdPattern, 'a queue id: 18 digits and letters').openapi({ example: '01KAV5X4T89H2M3N4P' })
// biome-ignore lint/suspicious/noControlCharactersInRegex: keeping them out is the point
const line = z.string().max(900).regex(/^[^\x00-\x1f\x7f]*$/, 'one line, without control characters')
// biome-ignore lint/suspicious/noControlCharactersInRegex: keeping it out is the point
const text = z.string().max(10_000_000).regex(/^[^\x00]*$/, 'text without NUL')
const moment = z.iso.datetime({ offset: true, error: 'a time such as 2026-11-24T05:00:00Z' })

const lifetime = z.int().min(60_000).max(year).openapi({
  description: 'Milliseconds until it is returned undelivered; left out, and at most, as the settings say (retry.maximalQueueLifetime, retry.lifetimes).',
})

export const submissionSchema = z
  .strictObject({
    from: addressSchema,
    to: z.array(addressSchema).max(1000).default([]),
    cc: z.array(addressSchema).max(1000).default([]),
    bcc: z.array(addressSchema).max(1000).default([]),
    replyTo: addressSchema.optional(),
    subject: line.default(''),
    text: text.optional(),
    html: text.optional(),
    headers: z.record(z.string().regex(/^[Xx]-[A-Za-z0-9-]{1,60}$/, 'a field whose name begins with X-'), line).optional(),
    attachments: z
      .array(z.strictObject({
        filename: line.min(1),
        contentType: z.string().regex(/^[a-zA-Z0-9.+-]{1,60}\/[a-zA-Z0-9.+-]{1,60}$/, 'a type such as application/pdf').default('application/octet-stream'),
        content: z.base64(),
      }))
      .max(100)
      .optional(),
    sendAt: moment.optional().openapi({ description: 'Not attempted before; at most a year ahead. The queue lifetime counts from then.' }),
    lifetime: lifetime.optional(),
  })
  .openapi('Submission')

export const rawQuerySchema = z.object({
  from: z.union([addressSchema, z.literal('')]).openapi({ description: 'The reverse-path; empty for the null one.', example: 'bob@example.test' }),
  to: z.union([addressSchema, z.array(addressSchema).min(1).max(100)]).openapi({ description: 'A recipient; up to a hundred.' }),
  sendAt: moment.optional(),
  lifetime: z.coerce.number().pipe(lifetime).optional().openapi({ type: 'integer', minimum: 60_000 }),
})

export const keySchema = z.object({
  'idempotency-key': z.string().regex(/^[\x21-\x7e]{1,200}$/, 'at most 200 visible characters').optional().openapi({
    description: 'A submission repeated under its key within two days leads to the same message. Each token has keys of its own.',
  }),
})

export const acceptedSchema = z.object({ id: idSchema, repeated: z.boolean() }).openapi('Accepted')
export const errorSchema = z.object({ error: z.string() }).openapi('Error')

const time = z.string().openapi({ format: 'date-time' })
const recipientState = z.enum(['queued', 'delivered', 'notifying', 'bouncing', 'bounced', 'expired'])
const outcome = z.object({ status: z.string(), enhanced: z.string(), text: z.string(), host: z.string().nullable() }).loose()

export const messageSchema = z
  .object({
    message: z.object({
      id: idSchema, kind: z.enum(['mail', 'dsn']), reversePath: z.string(), size: z.int(), state: z.enum(['queued', 'finished']),
      acceptedAt: time, expiresAt: time, heldAt: time.nullable(), sendAt: time.nullable(), finishedAt: time.nullable(),
    }).loose(),
    recipients: z.array(z.object({
      n: z.int(), forwardPath: z.string(), state: recipientState, attempts: z.int(),
      nextAttemptAt: time, outcome: outcome.nullable(),
    }).loose()),
    attempts: z.array(z.object({ number: z.int(), nextHop: z.string(), begunAt: time, endedAt: time.nullable() }).loose()),
    reports: z.array(z.object({ id: idSchema, acceptedAt: time })),
    actions: z.array(z.object({ at: time, who: z.string(), action: z.string(), why: z.string() }).loose()),
    next: z.object({ what: z.string(), at: time.nullable() }).nullable(),
  })
  .openapi('Message')

// biome-ignore lint/suspicious/noControlCharactersInRegex: keeping it out is the point
const word = z.string().min(1).max(320).regex(/^[^\x00]*$/, 'text without NUL').refine((text) => text.isWellFormed(), 'text without half of a surrogate pair')

/** As the options of the command line. */
const choosing = {
  sender: word.optional().openapi({ description: 'Reverse-path; `*` stands for anything, `<>` is the null reverse-path.' }),
  recipient: word.optional().openapi({ description: 'A recipient still queued; `*` stands for anything.' }),
  domain: word.optional(),
  user: word.optional().openapi({ description: 'Who submitted it: an authenticated user, or `token:` and a token\'s name; `*` stands for anything.' }),
  client: word.optional().openapi({ description: 'The address of the client that handed it in; `*` stands for anything.' }),
  nextHop: word.optional().openapi({ description: 'Where it goes now: `mx.example`, `[relay]:2525`, `maildir:example.test`.' }),
  before: moment.optional().openapi({ description: 'Accepted before.' }),
  status: z.enum(queueStatuses).optional(),
  reply: word.optional().openapi({ description: 'Text that the last outcome holds.' }),
}
const filterSchema = z.strictObject({ ids: z.array(idSchema).min(1).max(10_000).optional(), ...choosing }).openapi('Filter')
export type FilterInput = z.infer<typeof filterSchema>

const limit = z.coerce.number().int().min(1).max(1000).default(100).openapi({ type: 'integer', minimum: 1, maximum: 1000 })
export const queueQuerySchema = z.object({
  ...choosing,
  sort: z.enum(queueOrders).default('age'),
  limit,
  page: z.coerce.number().int().min(1).max(100_000).default(1).openapi({ type: 'integer', minimum: 1, maximum: 100_000 }),
})

export const queueSchema = z
  .object({
    messages: z.array(z.object({
      id: idSchema, kind: z.enum(['mail', 'dsn']), reversePath: z.string(), user: z.string().nullable(), client: z.string(), size: z.int(), acceptedAt: time, expiresAt: time, held: z.boolean(),
      waiting: z.int(), recipients: z.int(), forwardPath: z.string().nullable(), outcome: outcome.nullable(), waits: z.string().nullable(), nextAttemptAt: time.nullable(), active: z.boolean(),
    })),
  })
  .openapi('Queue')

export const traceQuerySchema = z.object({
  address: word.openapi({ description: 'An address, or an alias; `<>` is the null reverse-path.' }),
  since: moment.optional().openapi({ description: 'Accepted at this time or later.' }),
  until: moment.optional().openapi({ description: 'Accepted before.' }),
  limit,
})
export const tracedSchema = z
  .object({
    messages: z.array(z.object({
      id: idSchema, acceptedAt: time, reversePath: z.string(), forwardPath: z.string(), others: z.int(), state: recipientState, held: z.boolean(), attempts: z.int(),
      original: z.string().nullable().openapi({ description: 'The address that the sender knows, where it is another: an alias.' }),
      settledAt: time.nullable(), text: z.string().nullable(),
    })),
  })
  .openapi('Traced')

// biome-ignore lint/suspicious/noControlCharactersInRegex: keeping it out is the point
const why = z.string().max(1000).regex(/^[^\x00]*$/, 'text without NUL').default('').openapi({ description: 'Kept with the message; a bounce tells it to the sender.' })
const action = z.enum(controlActions)
const actionParts = {
  action,
  why,
  nextHop: word.nullable().optional().openapi({ description: 'For reroute: as in the settings; null goes back to settings and DNS.' }),
  lifetime: z.int().min(60_000).max(year).optional().openapi({ description: 'For set-lifetime: milliseconds from the acceptance, or from `sendAt`.' }),
}
export const actionSchema = z
  .strictObject({ ...actionParts, recipients: z.array(z.int().min(0).max(1_000_000)).min(1).max(1000).optional().openapi({ description: 'Positions in the envelope; left out: all.' }) })
  .openapi('Action')
const paging = {
  limit: z.int().min(1).max(10_000).default(1000).openapi({ description: 'At most so many messages in this request, oldest first.' }),
  after: idSchema.optional().openapi({ description: 'Go on after this id: `last` of the answer before.' }),
}
export const bulkActionSchema = z
  .strictObject({ ...actionParts, filter: filterSchema, dryRun: z.boolean().default(false), ...paging })
  .openapi('BulkAction')
export const actedSchema = z.object({ changed: z.array(z.string()), count: z.int(), busy: z.array(z.string()) }).openapi('Acted')
export const bulkActedSchema = z
  .object({
    matched: z.int(), done: z.int(), last: idSchema.nullable().openapi({ description: 'The last that was asked.' }),
    refused: z.array(z.object({ id: idSchema, error: z.string() })),
  })
  .openapi('BulkActed')

export const replaySchema = z
  .strictObject({
    id: idSchema.optional().openapi({ description: 'One message; left out: all that match what must then be given, but who was bounced or dropped by an operator.' }),
    sender: word.optional(), recipient: word.optional(), domain: word.optional(), reply: word.optional(), since: moment.optional(),
    dead: z.boolean().optional().openapi({ description: 'Only dead letters: nobody could be told.' }),
    nextHop: word.nullable().optional(), to: addressSchema.optional(), why, dryRun: z.boolean().default(false),
    perSecond: z.number().positive().max(10_000).optional(), ...paging,
    released: z.boolean().default(false).openapi({ description: 'Tell also of those that match and whose body is no longer kept, so that they cannot be queued again.' }),
  })
  .openapi('Replay')
export const replayedSchema = z
  .object({
    replayed: z.int(), messages: z.array(z.object({ id: idSchema, recipients: z.array(z.string()), failedAt: time, released: z.boolean() })), last: idSchema.nullable(),
  })
  .openapi('Replayed')

export const destinationsSchema = z
  .object({
    destinations: z.array(z.object({
      name: z.string(), queued: z.int(), waiting: z.int(), oldest: time.nullable(), delivered: z.int(), deferred: z.int(), bounced: z.int(), lastText: z.string().nullable(),
    }).loose()),
    control: z.array(z.object({
      name: z.string(), suspendedUntil: time.nullable(), suspendedBy: z.string(), suspendedWhy: z.string(), circuitUntil: time.nullable(),
      concurrency: z.int().nullable(), rate: z.number().nullable().openapi({ description: 'Attempts a second.' }),
    }).loose()).openapi({ description: 'What operators and failures have set; most destinations have nothing.' }),
  })
  .openapi('Destinations')
export const destinationActionSchema = z
  .strictObject({
    name: word.openapi({ description: 'As the list gives it, or a domain, a next hop, the hosts of an MX, a provider, or a delivery agent.', example: 'partner.test' }),
    action: z.enum(['suspend', 'resume', 'limit']), why,
    time: z.int().min(1000).max(year).optional().openapi({ description: 'For suspend: milliseconds.' }),
    concurrency: z.int().min(1).max(1_000_000).nullable().optional(), rate: z.number().positive().max(1_000_000).nullable().optional(),
  })
  .openapi('DestinationAction')
export const destinationActedSchema = z.object({ woken: z.int() }).openapi('DestinationActed')

export const eventSchema = z
  .object({ cursor: z.string(), seq: z.int(), messageId: z.string(), at: time, event: z.enum(eventKinds), detail: z.record(z.string(), z.unknown()) })
  .openapi('Event')
