// Messages: what was accepted, without its octets.

import type { BodyType, Origin, Ret } from '../mail/envelope.ts'
import type { Sql } from './database.ts'

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

export async function readMessage(sql: Sql, id: string): Promise<MessageRow | null> {
  const [row] = await sql<MessageRow[]>`
    select id, kind, parent, reverse_path as "reversePath", body_type as "bodyType", smtp_utf8 as "smtpUtf8",
           require_tls as "requireTls", ret, envid, size, origin, accepted_at as "acceptedAt", expires_at as "expiresAt", state,
           started_at as "startedAt", drive_at as "driveAt", finished_at as "finishedAt", held_at as "heldAt", send_at as "sendAt",
           body_release_at as "bodyReleaseAt", body_released_at as "bodyReleasedAt",
           delay_reported_at as "delayReportedAt", trace
    from messages where id = ${id}`
  return row ?? null
}

/** Keeps the header fields to prepend, and notes that the workflow runs: the message has left the outbox. */
export async function stampMessage(sql: Sql, id: string, trace: Uint8Array): Promise<void> {
  await sql`
    update messages set trace = ${trace as Buffer}, started_at = coalesce(started_at, now()), driven = 0,
      drive_at = case when held_at is null then greatest(now(), send_at) + interval '2 minutes' end
    where id = ${id} and state = 'queued'`
}
