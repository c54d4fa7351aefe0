// Settling recipients that failed: with the report on them committed in the same transaction, or as dead letters.

import type { Sql } from './database.ts'
import { acceptMessage, type NewMessage } from './accept.ts'
import { lockMessage, type Progress, type RecipientRow, type Retention, settleProgress } from './recipients.ts'

export interface SettleRequest {
  id: string
  /** Also settle, as expired, every recipient that is still queued and not held by a live attempt. */
  expire: boolean
  retention: Retention
  /** Composes the report on those of the recipients that someone is to be told of; null: nobody can be told. */
  report: (recipients: RecipientRow[]) => NewMessage | null
  /** Whether failing this recipient in silence is a dead letter, rather than what its NOTIFY asked for. */
  isDeadLetter: (recipient: RecipientRow) => boolean
}

/** Settles what failed, and commits the report with it. Returns the progress and the report's queue id. */
export async function settleFailed(sql: Sql, request: SettleRequest): Promise<{ progress: Progress; dsn: string | null; settled: number }> {
  return await sql.begin(async (transaction) => {
    const tx = transaction as unknown as Sql
    if (!(await lockMessage(tx, request.id))) throw new Error(`there is no message ${request.id}`)
    const failed = await tx<RecipientRow[]>`
      select n, forward_path as "forwardPath", domain, notify, orcpt, state, attempts, next_attempt_at as "nextAttemptAt",
             leased_until as "leasedUntil", outcome, settled_at as "settledAt", dead_letter as "deadLetter"
      from recipients
      where message_id = ${request.id}
        and (state = 'bouncing' or (${request.expire} and state = 'queued' and (leased_until is null or leased_until <= now())))
      order by n`
    const report = failed.length > 0 ? request.report(failed) : null
    if (report) await acceptMessage(tx, report)
    const dead = report ? [] : failed.filter(request.isDeadLetter).map((r) => r.n)
    await tx`
      update recipients set state = case state when 'bouncing' then 'bounced' else 'expired' end, settled_at = now(),
        dead_letter = n = any(${dead}::int[])
      where message_id = ${request.id} and n = any(${failed.map((r) => r.n)}::int[])`
    return { progress: await settleProgress(tx, request.id, request.retention), dsn: report?.id ?? null, settled: failed.length }
  })
}
