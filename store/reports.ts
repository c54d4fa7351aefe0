// Settling recipients whose fate is decided: with the reports on them committed in the same transaction, or as dead letters.

import type { ReportEvent } from '../mail/dsn.ts'
import type { Progress } from '../mail/progress.ts'
import { UnknownMessage } from '../mail/unknown-message.ts'
import { acceptMessage, type NewMessage } from './accept.ts'
import { appendChunk, copyBody } from './bodies.ts'
import { isFree } from './conditions.ts'
import type { Sql } from './database.ts'
import { lockMessage, type RecipientRow, type Retention, settleProgress } from './recipients.ts'

export interface ReportedRow extends RecipientRow {
  lastAttemptAt: Date | null
  /** Given up in silence by an operator. */
  dropped: boolean
}

export interface NewReport {
  message: Omit<NewMessage, 'body'>
  /** The octets of the report; between them goes the body of the message reported on, if `whole`. */
  head: Uint8Array
  tail: Uint8Array
  whole: boolean
  /** Positions of those that it speaks of. */
  recipients: number[]
  /** The sender is not told, so the failures are dead letters all the same. */
  toPostmaster: boolean
}

export interface ReportRequest {
  id: string
  /** Also settle, as expired, every recipient that is still queued, not held by a live attempt, and not among `busy`. */
  expire: boolean
  busy?: number[] | undefined
  /** Also report, once, on those that are still queued; an attempt may be under way for them. */
  delayed: boolean
  /** By this time, or by the database's if that is later, the lifetime must be over for `expire`. */
  at: Date
  retention: Retention
  /** Makes the reports on those of the recipients that someone is to be told of: one for each reverse-path. */
  make: (event: ReportEvent, recipients: ReportedRow[]) => NewReport[]
  /** Whether failing this recipient in silence is a dead letter, rather than what its NOTIFY asked for. */
  isDeadLetter: (recipient: RecipientRow) => boolean
}

interface Reported {
  event: ReportEvent
  recipients: number
}

export interface Settled {
  progress: Progress
  reports: (Reported & { dsn: string })[]
  /** What was settled and nobody is told of. */
  settled: (Reported & { dsn: null })[]
  /** Recipients that have failed for good, as they were before; one that was still queued has expired. */
  failed: ReportedRow[]
}

/** Settles what is decided, and commits the reports with it: one for each event, on all recipients concerned. */
export async function settleReports(sql: Sql, request: ReportRequest): Promise<Settled> {
  return await sql.begin(async (transaction) => {
    const tx = transaction as unknown as Sql
    const { id } = request
    if (!(await lockMessage(tx, id))) throw new UnknownMessage()
    // A replay or an operator may have given it more time since the workflow looked.
    const expire = request.expire && (await isOver(tx, id, request.at))
    const rows = await decided(tx, { ...request, expire })
    const failed = rows.filter((row) => row.state === 'bouncing' || (expire && row.state === 'queued'))
    const delayed = request.delayed && !expire && (await markDelayed(tx, id)) ? rows.filter((row) => row.state === 'queued') : []
    const succeeded = rows.filter((row) => row.state === 'notifying')

    const result: Pick<Settled, 'reports' | 'settled'> = { reports: [], settled: [] }
    let dead: number[] = []
    for (const [event, recipients] of [['failed', failed.filter(({ dropped }) => !dropped)], ['delayed', delayed], ['succeeded', succeeded]] as const) {
      const reports = recipients.length > 0 ? request.make(event, recipients) : []
      for (const report of reports) await acceptReport(tx, id, report)
      const told = new Set(reports.flatMap((report) => (report.toPostmaster ? [] : report.recipients)))
      if (event === 'failed') dead = recipients.filter((row) => request.isDeadLetter(row) && !told.has(row.n)).map((row) => row.n)
      for (const report of reports) result.reports.push({ event, recipients: report.recipients.length, dsn: report.message.id })
      if (reports.length === 0 && recipients.length > 0) result.settled.push({ event, recipients: recipients.length, dsn: null })
    }
    await tx`
      update recipients set
        state = case state when 'bouncing' then case when outcome ? 'givenUp' then 'expired' else 'bounced' end when 'notifying' then 'delivered' else 'expired' end,
        settled_at = coalesce(settled_at, now()), dead_letter = n = any(${dead}::int[])
      where message_id = ${id} and n = any(${[...failed, ...succeeded].map((row) => row.n)}::int[]) and state in ('queued', 'bouncing', 'notifying')`
    return { progress: await settleProgress(tx, id, request.retention), ...result, failed }
  })
}

/** The recipients that may be reported on, in envelope order. Those that expire are held: a dot that is being marked is waited for, and a later one refused. */
async function decided(tx: Sql, { id, expire, delayed, busy = [] }: ReportRequest): Promise<ReportedRow[]> {
  return await tx<ReportedRow[]>`
    select n, forward_path as "forwardPath", domain, notify, orcpt, verp, state, attempts, next_attempt_at as "nextAttemptAt",
           leased_until as "leasedUntil", outcome, settled_at as "settledAt", dead_letter as "deadLetter", waits, gives_up_at as "givesUpAt", dropped,
           (select max(begun_at) from attempts a where a.message_id = r.message_id and r.n = any(a.recipients)) as "lastAttemptAt"
    from recipients r
    where message_id = ${id}
      and (state in ('bouncing', 'notifying')
        or (${expire || delayed} and state = 'queued' and (${!expire} or (${isFree(tx)} and n <> all(${busy}::int[])))))
    order by n ${expire ? tx`for no key update of r` : tx``}`
}

async function isOver(tx: Sql, id: string, at: Date): Promise<boolean> {
  const rows = await tx`select from messages where id = ${id} and held_at is null and expires_at <= greatest(now(), ${at})`
  return rows.length === 1
}

/** Whether the delay report is still to be made; from now on it is not. */
async function markDelayed(tx: Sql, id: string): Promise<boolean> {
  const rows = await tx`update messages set delay_reported_at = now() where id = ${id} and delay_reported_at is null returning id`
  return rows.length === 1
}

async function acceptReport(tx: Sql, original: string, { message, head, tail, whole }: NewReport): Promise<void> {
  if (!whole) return await acceptMessage(tx, { ...message, body: Buffer.concat([head, tail]) })
  await appendChunk(tx, message.id, 0, head)
  const copied = await copyBody(tx, original, message.id, 1)
  await appendChunk(tx, message.id, copied + 1, tail)
  await acceptMessage(tx, { ...message, body: 'uploaded' })
}
