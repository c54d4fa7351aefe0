// stampHeaders: makes the trace header fields (RFC 5321 section 4.4), kept as bytes to prepend; the body is never rewritten.

import { receivedField } from '../mail/trace.ts'
import { type MessageRow, readMessage, stampMessage } from '../store/messages.ts'
import { countRecipients, readRecipients, type RecipientRow } from '../store/recipients.ts'
import type { ActivityDeps } from './index.ts'
import type { MessageArgument, Stamped, StampedRecipient } from './types.ts'

/** Recipients that a workflow knows by address; the others it only counts. */
const recipientsShown = 100

/** Stamps the message, once: a repetition keeps the first stamp. Also notes that its workflow runs. */
export async function stampHeaders(deps: ActivityDeps, { id }: MessageArgument): Promise<Stamped> {
  const message = await readMessage(deps.sql, id)
  if (!message || message.state === 'finished') {
    if (!message) deps.log.warn({ id }, 'a workflow runs for a message that is not in the database')
    return { finished: true, acceptedAt: 0, expiresAt: 0, delayAt: null, reversePath: '', recipients: [], recipientCount: 0 }
  }
  const recipients = await readRecipients(deps.sql, id, recipientsShown + 1)
  const trace = message.trace ?? Buffer.from(
    receivedField({ id, origin: message.origin, recipients: recipients.map((r) => r.forwardPath), acceptedAt: message.acceptedAt },
      deps.settings.hostname),
  )
  await stampMessage(deps.sql, id, trace)
  return {
    finished: false,
    searchable: deps.searchable,
    acceptedAt: message.acceptedAt.getTime(),
    expiresAt: message.expiresAt.getTime(),
    delayAt: delayAt(deps, message),
    reversePath: message.reversePath,
    recipients: recipients.slice(0, recipientsShown).map(known),
    recipientCount: recipients.length > recipientsShown ? await countRecipients(deps.sql, id) : recipients.length,
  }
}

/** After a replay, or a history that was cut, some recipients have a past. */
function known({ n, forwardPath, state, outcome, nextAttemptAt }: RecipientRow): StampedRecipient {
  if (!outcome) return { n, forwardPath }
  const text = outcome.text.slice(0, 200)
  if (state === 'queued') return { n, forwardPath, text, nextAttemptAt: nextAttemptAt.toISOString() }
  return { n, forwardPath, text, state: state === 'bouncing' ? 'bouncing' : state === 'delivered' || state === 'notifying' ? 'delivered' : 'failed' }
}

/** RFC 3461 section 4.1: a message that is not delivered for a while is reported once. Reports themselves are not. */
function delayAt({ settings }: ActivityDeps, { reversePath, delayReportedAt, acceptedAt, sendAt, expiresAt }: MessageRow): number | null {
  const at = Math.max(acceptedAt.getTime(), sendAt?.getTime() ?? 0) + settings.reports.delayAfter
  return settings.reports.delayAfter === 0 || reversePath === '' || delayReportedAt || at >= expiresAt.getTime() ? null : at
}
