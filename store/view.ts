// All that is known of one message, and what happens next: from Postgres, so it answers when the workflow is gone, and while
// Temporal is down.

import { type ActionRow, readActions } from './actions.ts'
import { type AttemptRow, readAttempts } from './attempts.ts'
import { isLeased } from './conditions.ts'
import type { Sql } from './database.ts'
import { type MessageRow, readMessage } from './messages.ts'
import { readReports } from './queue.ts'
import { type RecipientRow, readRecipients } from './recipients.ts'

const recipientsShown = 1000
const attemptsShown = 200

export interface MessageView {
  message: Omit<MessageRow, 'trace'>
  recipients: RecipientRow[]
  attempts: AttemptRow[]
  reports: { id: string; acceptedAt: Date }[]
  actions: ActionRow[]
  next: { what: string; at: Date | null } | null
}

export async function readView(sql: Sql, id: string): Promise<MessageView | null> {
  const found = await readMessage(sql, id)
  if (!found) return null
  const { trace: _, ...message } = found
  const [recipients, attempts, reports, actions, flying] = await Promise.all([
    readRecipients(sql, id, recipientsShown), readAttempts(sql, id, attemptsShown), readReports(sql, id), readActions(sql, id), isFlying(sql, id),
  ])
  return { message, recipients, attempts, reports, actions, next: nextStep(message, recipients, flying) }
}

/** Whether an attempt holds one of its recipients. */
async function isFlying(sql: Sql, id: string): Promise<boolean> {
  return (await sql`select from recipients where message_id = ${id} and ${isLeased(sql)} limit 1`).length > 0
}

/** What happens next, and when, as far as the database knows. */
function nextStep(message: MessageView['message'], recipients: RecipientRow[], flying: boolean): MessageView['next'] {
  if (message.state === 'finished') {
    const at = message.bodyReleasedAt === null ? message.bodyReleaseAt : null
    return at ? { what: 'the body is released', at } : null
  }
  if (message.heldAt && !flying) return { what: `nothing: on hold since ${message.heldAt.toISOString()}, until it is released`, at: null }
  if (message.startedAt === null) return { what: 'its workflow is started', at: message.driveAt }
  if (flying) return { what: 'an attempt is under way', at: null }
  if (recipients.some((r) => r.state === 'bouncing' || r.state === 'notifying')) return { what: 'a report is sent', at: null }
  const due = recipients.filter((r) => r.state === 'queued').map((r) => r.nextAttemptAt.getTime())
  return { what: 'the next attempt', at: due.length > 0 ? new Date(Math.min(...due)) : null }
}
