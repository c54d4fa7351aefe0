// sendDsn: settles the recipients that failed, and those who wanted to know of their delivery, with the reports on them (RFC 3461,
// RFC 3464) committed in the same transaction as messages of their own; where nobody can be told, failures stay as dead letters. A report
// that was itself too much for a host goes out again, shorter.

import { withHeadersOnly } from '../mail/dsn-shorter.ts'
import { originalOf } from '../mail/expand.ts'
import { headerSection } from '../mail/headers.ts'
import { UnknownMessage } from '../mail/unknown-message.ts'
import { readBody } from '../store/bodies.ts'
import { postgresTime } from '../store/clock.ts'
import { isDatabaseError } from '../store/database.ts'
import { type MessageRow, readMessage } from '../store/messages.ts'
import { type ReportedRow, settleReports } from '../store/reports.ts'
import { logSettled } from './log-settled.ts'
import { hasExpired, makeReports, wants } from './make-report.ts'
import type { ActivityDeps } from './index.ts'
import { recipientsShown } from './stamp-headers.ts'
import type { DsnArgument, DsnSent } from './types.ts'

/** Octets of the original's header section that are returned. */
const headersReturned = 64 * 1024

export async function sendDsn(deps: ActivityDeps, { id, clock, expire, delayed, busy }: DsnArgument): Promise<DsnSent> {
  const message = await readMessage(deps.sql, id)
  if (!message) throw new UnknownMessage()
  // A body that is gone or damaged must not keep the sender from being told.
  const unreadable = <T>(otherwise: T) => (error: unknown) => {
    if (isDatabaseError(error)) throw error
    deps.log.error({ id, error: String(error) }, 'the header section cannot be returned with the report')
    return otherwise
  }
  const body = () => readBody(deps.sql, id, message.size)
  const original = await headerSection(body(), headersReturned).catch(unreadable(Buffer.alloc(0)))
  const shorter = message.kind === 'dsn' ? await withHeadersOnly(body(), id, headersReturned).catch(unreadable(null)) : null
  const at = new Date(Math.max(postgresTime(), clock))
  const settle = (message: MessageRow) => settleReports(deps.sql, {
    id,
    expire,
    busy,
    delayed,
    at,
    retention: deps.settings.retention,
    make: (event, recipients) => makeReports(deps, { event, message, original, recipients, at, shorter }),
    isDeadLetter: (recipient) => wants(recipient, 'failed'),
  })
  const { progress, reports, settled, failed } = await settle(message).catch((error) => {
    if (isDatabaseError(error)) throw error
    deps.log.error({ id, error: String(error) }, 'the message cannot be returned in full')
    return settle({ ...message, ret: 'HDRS' })
  })
  for (const recipient of failed) logFailed(deps, message, recipient)
  for (const { event, dsn, recipients } of [...reports, ...settled]) {
    deps.log.info({ id, event, recipients, dsn }, dsn ? 'a report is on its way' : `${event}: nobody is told${message.reversePath === '' ? ', since it has no reverse-path' : ''}`)
  }
  // Not waited for: the reports are committed, and the outbox starts what is not started here.
  for (const { dsn } of reports) deps.startMessage(dsn).catch(() => {})
  return { progress, failed: failed.map(({ n }) => n).filter((n) => n < recipientsShown) }
}

/** What an attempt has decided stands in the log already. */
function logFailed(deps: ActivityDeps, message: MessageRow, recipient: ReportedRow): void {
  const { forwardPath: to, outcome, attempts: attempt, waits } = recipient
  const original = originalOf(recipient)
  if (hasExpired(recipient)) logSettled(deps, message, { to, original, status: 'expired', dsn: '4.4.7', attempt, text: outcome?.text ?? waits ?? 'no attempt could be made' })
  else if (outcome?.phase === 'queue') logSettled(deps, message, { to, original, status: 'bounced', dsn: outcome.enhanced, attempt, text: outcome.text })
}
