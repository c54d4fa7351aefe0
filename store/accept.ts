// Accepting a message: the one commit after which it is ours.

import { isAscii } from 'node:buffer'
import { domainOf } from '../mail/address.ts'
import type { Envelope, Origin } from '../mail/envelope.ts'
import { expandedTo } from '../mail/verdict.ts'
import type { Sql } from './database.ts'

export interface NewMessage {
  id: string
  kind: 'mail' | 'dsn'
  /** The message that a DSN reports on. */
  parent: string | null
  envelope: Envelope
  origin: Origin
  /** Octets of the body. */
  size: number
  /** Milliseconds from now, or from `sendAt`, until it is returned undelivered. */
  lifetime: number
  /** Not attempted before this moment (RFC 4865); its lifetime counts from then. */
  sendAt?: Date | null
  /** The whole body when it is small, or "uploaded" when appendChunk has stored all of it. */
  body: Uint8Array | 'uploaded'
}

/** How long ingress has to start the workflow itself before the outbox does. */
const outboxGrace = '3 seconds'

/** Milliseconds after which Postgres breaks off a statement that accepts: it is certain then that nothing was stored. */
export const acceptTime = 60_000

/**
 * Stores a message in one transaction: when this returns, the 250 may be sent. Throws when the database cannot, or when an upload was
 * swept away meanwhile; then the answer is 451 and nothing is kept. `sql` may be a transaction of the caller's.
 */
export async function acceptMessage(sql: Sql, message: NewMessage): Promise<void> {
  if (message.body !== 'uploaded') await acceptMessages(sql, [message])
  else if ('begin' in sql) {
    await sql.begin(async (tx) => {
      await tx`select set_config('statement_timeout', ${String(acceptTime)}, true)`
      await acceptUploaded(tx as unknown as Sql, message)
    })
  }
  else await acceptUploaded(sql, message)
}

/** Ends the upload and stores its message, in a transaction of the caller's. */
async function acceptUploaded(tx: Sql, message: NewMessage): Promise<void> {
  const [whole] = await tx`
    with upload as (delete from uploads where id = ${message.id} returning id)
    select from upload where (select sum(octet_length(bytes)) from body_chunks where message_id = ${message.id}) = ${message.size}`
  if (!whole) throw new Error(`the body of ${message.id} is no longer there`)
  await acceptMessages(tx, [message])
}

/**
 * Stores several messages in one statement, which costs each a third (docs/performance.md): all of them or none. Uploads must have been
 * ended. Returns when they were accepted, by the clock of Postgres.
 */
export async function acceptMessages(sql: Sql, messages: NewMessage[]): Promise<Date> {
  const of = <T>(value: (message: NewMessage) => T) => messages.map(value)
  let next = 1 // where in all bodies the next begins, as Postgres counts
  const small = messages.flatMap(({ id, body }) => {
    if (body === 'uploaded') return []
    const first = next
    next += body.length
    return [{ id, body, first }]
  })
  const bodies = encode(Buffer.concat(small.map(({ body }) => body)))
  const recipients = messages.flatMap(({ id, sendAt, envelope }) => envelope.recipients.map((recipient) => ({ id, sendAt, ...recipient })))
  // The text is decoded once, rather than for each body.
  const [first] = await sql<{ at: Date }[]>`
    with bodies as materialized (
      select case when ascii = 1 then convert_to(text, 'UTF8') else decode(text, 'hex') end as octets
      from (select ${bodies.text}::text as text, ${Number(bodies.ascii)}::int as ascii) as sent
    ),
    chunk as (
      insert into body_chunks (message_id, seq, bytes)
      select id, 0, substring(octets from first for length)
      from bodies, unnest(${small.map((m) => m.id)}::text[], ${small.map((m) => m.first)}::int[], ${small.map((m) => m.body.length)}::int[]) as b (id, first, length)
    ),
    recipient as (
      insert into recipients (message_id, n, forward_path, domain, notify, orcpt, verp, next_attempt_at, state, outcome, settled_at)
      select id, n, forward_path, domain, string_to_array(notify, ','), orcpt, verp, greatest(now(), send_at),
             case when outcome is null then 'queued' else 'notifying' end, outcome, case when outcome is not null then now() end
      from unnest(
        ${recipients.map((r) => r.id)}::text[], ${recipients.map((r) => r.n)}::int[], ${recipients.map((r) => r.forwardPath)}::text[],
        ${recipients.map((r) => domainOf(r.forwardPath))}::text[], ${recipients.map((r) => r.notify.join(','))}::text[],
        ${recipients.map((r) => r.orcpt)}::text[], ${recipients.map((r) => r.verp ?? null)}::text[], ${recipients.map((r) => r.sendAt?.toISOString() ?? null)}::timestamptz[],
        ${recipients.map((r) => (r.expanded === undefined ? null : JSON.stringify(expandedTo(r.expanded))))}::text[]::jsonb[]
      ) as r (id, n, forward_path, domain, notify, orcpt, verp, send_at, outcome)
    )
    insert into messages (id, kind, parent, reverse_path, body_type, smtp_utf8, require_tls, ret, envid, size, origin, expires_at, drive_at, send_at)
    select id, kind, parent, reverse_path, body_type, smtp_utf8 = 1, require_tls = 1, ret, envid, size, origin::jsonb,
           greatest(now(), send_at) + lifetime * interval '1 millisecond', now() + ${outboxGrace}::interval, send_at
    from unnest(
      ${of((m) => m.id)}::text[], ${of((m) => m.kind)}::text[], ${of((m) => m.parent)}::text[], ${of((m) => m.envelope.reversePath)}::text[],
      ${of((m) => m.envelope.body)}::text[], ${of((m) => Number(m.envelope.smtpUtf8))}::int[], ${of((m) => Number(m.envelope.requireTls))}::int[],
      ${of((m) => m.envelope.ret)}::text[], ${of((m) => m.envelope.envid)}::text[], ${of((m) => m.size)}::bigint[],
      ${of((m) => JSON.stringify(m.origin))}::text[], ${of((m) => m.lifetime)}::float8[], ${of((m) => m.sendAt?.toISOString() ?? null)}::timestamptz[]
    ) as m (id, kind, parent, reverse_path, body_type, smtp_utf8, require_tls, ret, envid, size, origin, lifetime, send_at)
    returning accepted_at as at`
  return first!.at
}

/** As text where that is possible, as it mostly is: the driver would send octets as twice as many hexadecimal digits. */
function encode(octets: Buffer): { text: string; ascii: boolean } {
  const ascii = isAscii(octets) && !octets.includes(0)
  return { text: octets.toString(ascii ? 'latin1' : 'hex'), ascii }
}

/** Whether the message is stored: for whoever lost the connection before acceptMessage could tell. */
export async function isAccepted(sql: Sql, id: string): Promise<boolean> {
  let accepted = true
  // To put a row of this id there waits for the commit that may still be under way, which to look for one does not.
  await sql.begin(async (tx) => {
    const rows = await tx`
      insert into messages (id, kind, reverse_path, body_type, smtp_utf8, require_tls, size, origin, expires_at)
      values (${id}, 'mail', '', '7BIT', false, false, 0, '{}', now()) on conflict (id) do nothing returning id`
    accepted = rows.length === 0
    if (!accepted) throw notKept
  }).catch((error) => {
    if (error !== notKept) throw error
  })
  return accepted
}

const notKept = new Error('a row that is not to be kept')
