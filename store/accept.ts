// Accepting a message: the one commit after which it is ours.

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

/**
 * Stores a message in one statement, and so in one transaction: when this returns, the 250 may be sent. Throws when
 * the database cannot, or when an upload was swept away meanwhile; then the answer is 451 and nothing is kept.
 * `sql` may be a transaction of the caller's.
 */
export async function acceptMessage(sql: Sql, message: NewMessage): Promise<void> {
  const { envelope } = message
  const recipients = envelope.recipients
  const sendAt = message.sendAt ?? null
  const inline = message.body === 'uploaded' ? null : (message.body as Buffer)
  const [stored] = await sql`
    with upload as (delete from uploads where id = ${message.id} returning id),
    message as (
      insert into messages (id, kind, parent, reverse_path, body_type, smtp_utf8, require_tls, ret, envid, size, origin, expires_at, drive_at, send_at)
      select ${message.id}, ${message.kind}, ${message.parent}, ${envelope.reversePath}, ${envelope.body}, ${envelope.smtpUtf8},
             ${envelope.requireTls}, ${envelope.ret}, ${envelope.envid}, ${message.size}, ${sql.json(message.origin as never)},
             greatest(now(), ${sendAt}::timestamptz) + ${message.lifetime}::float8 * interval '1 millisecond', now() + ${outboxGrace}::interval,
             ${sendAt}
      where ${inline !== null}
         or (select sum(octet_length(bytes)) from body_chunks where message_id in (select id from upload)) = ${message.size}
      returning id
    ),
    chunk as (
      insert into body_chunks (message_id, seq, bytes)
      select id, 0, ${inline} from message where ${inline !== null}
    )
    insert into recipients (message_id, n, forward_path, domain, notify, orcpt, verp, next_attempt_at, state, outcome, settled_at)
    select message.id, r.n, r.forward_path, r.domain, string_to_array(r.notify, ','), r.orcpt, r.verp, greatest(now(), ${sendAt}::timestamptz),
           case when r.outcome is null then 'queued' else 'notifying' end, r.outcome, case when r.outcome is not null then now() end
    from message, unnest(
      ${recipients.map((r) => r.n)}::int[], ${recipients.map((r) => r.forwardPath)}::text[],
      ${recipients.map((r) => domainOf(r.forwardPath))}::text[], ${recipients.map((r) => r.notify.join(','))}::text[],
      ${recipients.map((r) => r.orcpt)}::text[], ${recipients.map((r) => r.verp ?? null)}::text[],
      ${recipients.map((r) => (r.expanded === undefined ? null : JSON.stringify(expandedTo(r.expanded))))}::text[]::jsonb[]
    ) as r (n, forward_path, domain, notify, orcpt, verp, outcome)
    returning message_id`
  if (!stored) throw new Error(`the body of ${message.id} is no longer there`)
}

/** Whether the message is stored: for whoever lost the connection before acceptMessage could tell. */
export async function isAccepted(sql: Sql, id: string): Promise<boolean> {
  const rows = await sql`select from messages where id = ${id}`
  return rows.length === 1
}
