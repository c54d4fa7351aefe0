// stampHeaders: makes the trace header fields (RFC 5321 section 4.4), kept as bytes to prepend; the body is never rewritten.

import { receivedField } from '../mail/trace.ts'
import { UnknownMessage } from '../mail/unknown-message.ts'
import { type MessageRow, type OpenedRecipient, readMessage, stampMessage } from '../store/messages.ts'
import { countRecipients, readRecipients, type RecipientRow } from '../store/recipients.ts'
import type { ActivityDeps } from './index.ts'
import type { MessageArgument, Stamped, StampedRecipient } from './types.ts'

/** Recipients that a workflow knows by address; the others it only counts. */
export const recipientsShown = 100

type StampedFrom = Pick<OpenedRecipient, 'n' | 'forwardPath' | 'state' | 'text' | 'nextAttemptAt'>

/** Stamps the message, once: a repetition keeps the first stamp. Also notes that its workflow runs. */
export async function stampHeaders(deps: ActivityDeps, { id }: MessageArgument): Promise<Stamped | null> {
  const message = await readMessage(deps.sql, id)
  if (!message) throw new UnknownMessage()
  if (message.state === 'finished') return null
  const recipients = await readRecipients(deps.sql, id, recipientsShown + 1)
  await stampMessage(deps.sql, id, traceOf(deps, message, recipients))
  const count = recipients.length > recipientsShown ? await countRecipients(deps.sql, id) : recipients.length
  return stampedOf(deps, message, recipients.map((r) => ({ ...r, text: r.outcome?.text ?? null, nextAttemptAt: r.nextAttemptAt.toISOString() })), count)
}

/** The fields to prepend: those that are kept, or new ones. */
export function traceOf(deps: ActivityDeps, message: MessageRow, recipients: Pick<RecipientRow, 'forwardPath'>[]): Buffer {
  return message.trace ?? Buffer.from(receivedField({ ...message, recipients: recipients.map((r) => r.forwardPath) }, deps.settings.hostname))
}

/** What the workflow is told of its message. */
export function stampedOf(deps: ActivityDeps, message: MessageRow, recipients: StampedFrom[], recipientCount: number): Stamped {
  return {
    searchable: deps.searchable,
    acceptedAt: message.acceptedAt.getTime(),
    expiresAt: message.expiresAt.getTime(),
    delayAt: delayAt(deps, message),
    reversePath: message.reversePath,
    recipients: recipients.slice(0, recipientsShown).map(known),
    recipientCount,
  }
}

/** After a replay, or a history that was cut, some recipients have a past. */
function known({ n, forwardPath, state, text: whole, nextAttemptAt }: StampedFrom): StampedRecipient {
  if (whole === null) return { n, forwardPath }
  const text = whole.slice(0, 200)
  if (state === 'queued') return { n, forwardPath, text, nextAttemptAt }
  return { n, forwardPath, text, state: state === 'bouncing' ? 'bouncing' : state === 'delivered' || state === 'notifying' ? 'delivered' : 'failed' }
}

/** RFC 3461 section 4.1: a message that is not delivered for a while is reported once. Reports themselves are not. */
function delayAt({ settings }: ActivityDeps, { reversePath, delayReportedAt, acceptedAt, sendAt, expiresAt }: MessageRow): number | null {
  const at = Math.max(acceptedAt.getTime(), sendAt?.getTime() ?? 0) + settings.reports.delayAfter
  return settings.reports.delayAfter === 0 || reversePath === '' || delayReportedAt || at >= expiresAt.getTime() ? null : at
}
