// sendDsn: settles the recipients that failed, with the report on them (RFC 3464) committed in the same transaction as a
// message of its own; where nobody can be told, they stay visible as dead letters.

import { randomBytes } from 'node:crypto'
import { composeReport, type ReportRecipient } from '../mail/dsn.ts'
import { headerSection } from '../mail/headers.ts'
import { makeQueueId } from '../mail/queue-id.ts'
import type { NewMessage } from '../store/accept.ts'
import { readBody } from '../store/bodies.ts'
import { type MessageRow, readMessage } from '../store/messages.ts'
import type { RecipientRow } from '../store/recipients.ts'
import { settleFailed } from '../store/reports.ts'
import type { ActivityDeps } from './index.ts'
import type { DsnArgument, DsnSent } from './types.ts'

/** Octets of the original's header section that are returned. */
const headersReturned = 64 * 1024

export async function sendDsn(deps: ActivityDeps, { id, expire }: DsnArgument): Promise<DsnSent> {
  const message = await readMessage(deps.sql, id)
  if (!message) throw new Error(`there is no message ${id}`)
  const original = await headerSection(readBody(deps.sql, id, message.size), headersReturned)
  const { progress, dsn, settled } = await settleFailed(deps.sql, {
    id,
    expire,
    retention: deps.settings.retention,
    report: (failed) => report(deps, message, original, failed),
    isDeadLetter: wantsReport,
  })
  if (settled > 0) {
    const how = dsn ? 'a report is on its way' : message.reversePath === '' ? 'dead letter: it has no reverse-path' : 'no report was asked for'
    deps.log.info({ id, dsn, recipients: settled, expire }, `failed recipients settled: ${how}`)
  }
  // Not waited for: the report is committed, and the outbox starts what is not started here.
  if (dsn) deps.startMessage(dsn).catch(() => {})
  return { progress, dsn }
}

/** RFC 3461 section 4.1: failures are reported unless NOTIFY says otherwise. */
function wantsReport(recipient: RecipientRow): boolean {
  return recipient.notify.length === 0 || recipient.notify.includes('FAILURE')
}

/** Null for the null reverse-path: a report is never sent about a report (RFC 5321 section 6.1). */
function report(deps: ActivityDeps, message: MessageRow, original: Uint8Array, failed: RecipientRow[]): NewMessage | null {
  const recipients = failed.filter(wantsReport).map(reportOn)
  if (message.reversePath === '' || recipients.length === 0) return null
  const at = new Date()
  const dsnId = makeQueueId(at.getTime(), randomBytes(8))
  const body = composeReport({
    id: message.id, dsnId, hostname: deps.settings.hostname, to: message.reversePath, envid: message.envid,
    arrivedAt: message.acceptedAt, at, receivedFrom: message.origin.helo || null, recipients, original,
  })
  return {
    id: dsnId,
    kind: 'dsn',
    parent: message.id,
    envelope: {
      reversePath: '', recipients: [{ n: 0, forwardPath: message.reversePath, notify: [], orcpt: null }],
      body: '7BIT', smtpUtf8: message.smtpUtf8, requireTls: message.requireTls, ret: null, envid: null,
    },
    origin: { protocol: '', helo: '', clientAddress: '', clientName: null, tls: null, user: null },
    size: body.length,
    lifetime: deps.settings.retry.bounceQueueLifetime,
    body,
  }
}

function reportOn(recipient: RecipientRow): ReportRecipient {
  const { outcome } = recipient
  const expired = recipient.state === 'queued'
  const text = outcome?.text ?? 'no attempt could be made'
  return {
    forwardPath: recipient.forwardPath,
    orcpt: recipient.orcpt,
    action: 'failed',
    // RFC 3463 section 3.5, X.4.7: the time allowed is over; the cause of the deferrals is in the diagnostic code.
    status: expired ? '4.4.7' : (outcome?.enhanced ?? '5.0.0'),
    reply: outcome?.reply ?? null,
    remoteHost: outcome?.host ?? null,
    text: expired ? `delivery time expired; the last attempt ended with: ${text}` : text,
    lastAttemptAt: null,
    willRetryUntil: null,
  }
}
