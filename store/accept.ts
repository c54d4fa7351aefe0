// Accepting a message: the one commit after which it is ours.

import { isAscii } from 'node:buffer'
import { domainOf } from '../mail/address.ts'
import type { Envelope, Origin } from '../mail/envelope.ts'
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

/**
 * Stores a message in one statement, and so in one transaction: when this returns, the 250 may be sent. Throws when
 * the database cannot, or when an upload was swept away meanwhile; then the answer is 451 and nothing is kept.
 * `sql` may be a transaction of the caller's.
 */
export async function acceptMessage(sql: Sql, message: NewMessage): Promise<void> {
  const stored = await acceptMessages(sql, [message])
  if (stored.length === 0) throw new Error(`the body of ${message.id} is no longer there`)
}

/**
 * The same for several messages in one statement, which costs each a third (docs/performance.md): all of them are stored, but for those
 * whose upload was swept away, or none. Returns the ids of those that are.
 */
export async function acceptMessages(sql: Sql, messages: NewMessage[]): Promise<string[]> {
  const of = <T>(value: (message: NewMessage) => T) => messages.map(value)
  const bodies = of(({ body }) => (body === 'uploaded' ? null : encode(body as Buffer)))
  const recipients = messages.flatMap(({ id, envelope }) => envelope.recipients.map((recipient) => ({ id, ...recipient })))
  const rows = await sql<{ id: string }[]>`
    with given as (
      select *, greatest(now(), send_at) as begins from unnest(
        ${of((m) => m.id)}::text[], ${of((m) => m.kind)}::text[], ${of((m) => m.parent)}::text[], ${of((m) => m.envelope.reversePath)}::text[],
        ${of((m) => m.envelope.body)}::text[], ${of((m) => Number(m.envelope.smtpUtf8))}::int[], ${of((m) => Number(m.envelope.requireTls))}::int[],
        ${of((m) => m.envelope.ret)}::text[], ${of((m) => m.envelope.envid)}::text[], ${of((m) => m.size)}::bigint[],
        ${of((m) => JSON.stringify(m.origin))}::text[], ${of((m) => m.lifetime)}::float8[], ${of((m) => m.sendAt?.toISOString() ?? null)}::timestamptz[],
        ${bodies.map((body) => body?.text ?? null)}::text[], ${bodies.map((body) => Number(body?.ascii ?? false))}::int[]
      ) as m (id, kind, parent, reverse_path, body_type, smtp_utf8, require_tls, ret, envid, size, origin, lifetime, send_at, body, ascii)
    ),
    upload as (delete from uploads where id in (select id from given where body is null) returning id),
    message as (
      insert into messages (id, kind, parent, reverse_path, body_type, smtp_utf8, require_tls, ret, envid, size, origin, expires_at, drive_at, send_at)
      select id, kind, parent, reverse_path, body_type, smtp_utf8 = 1, require_tls = 1, ret, envid, size, origin::jsonb,
             begins + lifetime * interval '1 millisecond', now() + ${outboxGrace}::interval, send_at
      from given where body is not null
         or (select sum(octet_length(bytes)) from body_chunks c where c.message_id = (select u.id from upload u where u.id = given.id)) = size
      returning id
    ),
    chunk as (
      insert into body_chunks (message_id, seq, bytes)
      select id, 0, case when ascii = 1 then convert_to(body, 'UTF8') else decode(body, 'hex') end from given where body is not null
    )
    insert into recipients (message_id, n, forward_path, domain, notify, orcpt, next_attempt_at)
    select id, r.n, r.forward_path, r.domain, string_to_array(r.notify, ','), r.orcpt, given.begins
    from unnest(
      ${recipients.map((r) => r.id)}::text[], ${recipients.map((r) => r.n)}::int[], ${recipients.map((r) => r.forwardPath)}::text[],
      ${recipients.map((r) => domainOf(r.forwardPath))}::text[], ${recipients.map((r) => r.notify.join(','))}::text[], ${recipients.map((r) => r.orcpt)}::text[]
    ) as r (id, n, forward_path, domain, notify, orcpt) join message using (id) join given using (id)
    returning message_id as id`
  return [...new Set(rows.map(({ id }) => id))]
}

/** As text where that is possible, as it mostly is: the driver would send octets as twice as many hexadecimal digits. */
function encode(body: Buffer): { text: string; ascii: boolean } {
  const ascii = isAscii(body) && !body.includes(0)
  return { text: body.toString(ascii ? 'latin1' : 'hex'), ascii }
}

/** Whether the message is stored: for whoever lost the connection before acceptMessage could tell. */
export async function isAccepted(sql: Sql, id: string): Promise<boolean> {
  const rows = await sql`select from messages where id = ${id}`
  return rows.length === 1
}
