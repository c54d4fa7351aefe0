// Messages: what was accepted, without its octets.

import type { BodyType, Origin, Ret } from '../mail/envelope.ts'
import { isFree } from './conditions.ts'
import type { Sql } from './database.ts'
import type { DueRecipient, RecipientRow } from './recipients.ts'

export interface MessageRow {
  id: string
  kind: 'mail' | 'dsn'
  parent: string | null
  reversePath: string
  bodyType: BodyType
  smtpUtf8: boolean
  requireTls: boolean
  ret: Ret | null
  envid: string | null
  size: number
  origin: Origin
  acceptedAt: Date
  expiresAt: Date
  state: 'queued' | 'finished'
  startedAt: Date | null
  driveAt: Date | null
  finishedAt: Date | null
  /** On hold since; null: not on hold. */
  heldAt: Date | null
  /** Not attempted before; null: at once. */
  sendAt: Date | null
  bodyReleaseAt: Date | null
  bodyReleasedAt: Date | null
  /** When the delay report was committed, or found to be wanted by nobody. */
  delayReportedAt: Date | null
  /** Header fields to prepend; null until stamped. */
  trace: Buffer | null
}

/** A message, and its octets where they are at hand. */
export interface WholeMessage extends MessageRow {
  body?: Buffer | null
}

export async function readMessage(sql: Sql, id: string): Promise<MessageRow | null> {
  const [row] = await sql<MessageRow[]>`
    select ${messageColumns(sql)} from messages where id = ${id}`
  return row ?? null
}

function messageColumns(sql: Sql) {
  return sql`
    id, kind, parent, reverse_path as "reversePath", body_type as "bodyType", smtp_utf8 as "smtpUtf8",
    require_tls as "requireTls", ret, envid, size, origin, accepted_at as "acceptedAt", expires_at as "expiresAt", state,
    started_at as "startedAt", drive_at as "driveAt", finished_at as "finishedAt", held_at as "heldAt", send_at as "sendAt",
    body_release_at as "bodyReleaseAt", body_released_at as "bodyReleasedAt", delay_reported_at as "delayReportedAt", trace`
}

/** Octets up to which a body is read with its message. */
export const smallBody = 64 * 1024

export interface Opened {
  message: WholeMessage
  /** In envelope order. */
  recipients: OpenedRecipient[]
  /** How many there are in all. */
  recipientCount: number
  /** No attempt has been made or begun for it, and no operator has sent it another way. */
  untried: boolean
}

export interface OpenedRecipient extends DueRecipient, Pick<RecipientRow, 'forwardPath' | 'notify' | 'orcpt' | 'verp' | 'state'> {
  text: string | null
  /** ISO 8601. */
  nextAttemptAt: string
  /** As dueRecipients has it. */
  due: boolean
}

/** All that the first pass over a message needs, in one statement: the message, a small body, and its first `limit` recipients. */
export async function openMessage(sql: Sql, id: string, clock: Date, limit: number): Promise<Opened | null> {
  const [row] = await sql<(WholeMessage & Omit<Opened, 'message'>)[]>`
    select ${messageColumns(sql)},
           case when size <= ${smallBody} then (select bytes from body_chunks where message_id = m.id and seq = 0) end as body,
           (select count(*) from recipients where message_id = m.id) as "recipientCount",
           attempts = 0 and not exists (select from recipients where message_id = m.id and route is not null) as untried,
           (select json_agg(json_build_object('n', n, 'forwardPath', forward_path, 'notify', notify, 'orcpt', orcpt, 'verp', verp,
              'domain', domain, 'route', route, 'state', state, 'text', outcome ->> 'text',
              'nextAttemptAt', next_attempt_at, 'due', held_at is null and state = 'queued' and next_attempt_at <= greatest(now(), ${clock})
                and ${isFree(sql)}) order by n)
            from (select * from recipients where message_id = m.id order by n limit ${limit}) r) as recipients
    from messages m where id = ${id}`
  if (!row) return null
  const { recipients, recipientCount, untried, ...message } = row
  return { message: { ...message, body: message.body?.length === message.size ? message.body : null }, recipients, recipientCount, untried }
}

/** Keeps the header fields to prepend, and notes that the workflow runs: the message has left the outbox. */
export async function stampMessage(sql: Sql, id: string, trace: Uint8Array): Promise<void> {
  await sql`
    update messages set trace = coalesce(trace, ${trace as Buffer}), started_at = coalesce(started_at, now()), driven = 0,
      drive_at = case when held_at is null then greatest(now(), send_at) + interval '2 minutes' else drive_at end
    where id = ${id} and state = 'queued'`
}
