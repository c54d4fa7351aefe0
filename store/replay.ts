// Replay: recipients that failed for good are queued again under the same id. One that was delivered is never touched.

import type { Sql } from './database.ts'
import { lockMessage, type Retention, settleProgress } from './recipients.ts'

export interface ReplayFilter {
  /** Canonical domain of the recipients; undefined: every one. */
  domain?: string | undefined
  /** Only what failed at this time or later. */
  since?: Date | undefined
}

export interface Failed {
  id: string
  reversePath: string
  recipients: string[]
  failedAt: Date
  /** The body is gone: it cannot be replayed any more. */
  released: boolean
}

/** Messages with failed recipients that match, oldest failure first. */
export async function findFailed(sql: Sql, filter: ReplayFilter, id?: string): Promise<Failed[]> {
  return await sql<Failed[]>`
    select m.id, m.reverse_path as "reversePath", array_agg(r.forward_path order by r.n) as recipients,
           max(r.settled_at) as "failedAt", m.body_released_at is not null as released
    from recipients r join messages m on m.id = r.message_id
    where r.state in ('bounced', 'expired')
      and (${id ?? null}::text is null or m.id = ${id ?? null})
      and (${filter.domain ?? null}::text is null or r.domain = ${filter.domain ?? null})
      and (${filter.since ?? null}::timestamptz is null or r.settled_at >= ${filter.since ?? null})
    group by m.id order by max(r.settled_at)`
}

export interface ReplayRequest extends ReplayFilter {
  id: string
  who: string
  why: string
  /** Milliseconds of queue lifetime that the message is given anew. */
  lifetime: number
  retention: Retention
}

/** Queues the failed recipients again; returns their addresses, none when there is nothing to replay or the body is gone. */
export async function replayMessage(sql: Sql, request: ReplayRequest): Promise<string[]> {
  return await sql.begin(async (transaction) => {
    const tx = transaction as unknown as Sql
    const { id, domain = null, since = null } = request
    if (!(await lockMessage(tx, id))) return []
    const rows = await tx<{ forwardPath: string }[]>`
      update recipients r set state = 'queued', attempts = 0, next_attempt_at = now(), leased_until = null, settled_at = null,
        dead_letter = false
      from messages m
      where m.id = ${id} and r.message_id = m.id and m.body_released_at is null and r.state in ('bounced', 'expired')
        and (${domain}::text is null or r.domain = ${domain}) and (${since}::timestamptz is null or r.settled_at >= ${since})
      returning r.forward_path as "forwardPath"`
    if (rows.length === 0) return []
    const recipients = rows.map((row) => row.forwardPath)
    await tx`
      update messages set expires_at = now() + ${request.lifetime}::float8 * interval '1 millisecond',
        delay_reported_at = coalesce(delay_reported_at, now()) where id = ${id}`
    await tx`
      insert into actions (message_id, who, action, why, detail)
      values (${id}, ${request.who}, 'replay', ${request.why}, ${tx.json({ recipients })})`
    await settleProgress(tx, id, request.retention)
    // Now, not two minutes later: the caller starts the workflow, and the outbox if the caller cannot.
    await tx`update messages set drive_at = now() + interval '3 seconds' where id = ${id}`
    return recipients
  })
}
