// What a message's workflow remembers for its status query: bounded, since it lives in memory and in replays. Postgres has all.

import { setCurrentDetails } from '@temporalio/workflow'
import type { AttemptSummary, Group, Stamped } from '../activities/types.ts'
import type { Progress } from '../mail/progress.ts'

const attemptsKept = 50
/** Characters of all of them, as JSON: far below the two million octets that Temporal takes in one piece, as an answer or as the input of a run. */
const charactersKept = 200_000

export interface RecipientStatus {
  n: number
  forwardPath: string
  state: 'queued' | 'delivered' | 'bouncing' | 'failed'
  /** The last outcome's line, and when the next attempt is due. */
  text: string | null
  nextAttemptAt: string | null
}

export interface MessageStatus {
  id: string
  reversePath: string
  /** The first recipients; `recipientCount` tells how many there are. */
  recipients: RecipientStatus[]
  recipientCount: number
  acceptedAt: string | null
  expiresAt: string | null
  /** On hold: neither attempted nor expired until it is released. Undefined until that is known. */
  held: boolean | undefined
  /** The latest attempts, oldest first. */
  attempts: AttemptSummary[]
  /** While no attempt is possible: the destination whose suspension, circuit or limit it is. */
  waitsFor: string | null
  /** What happens next, and when (ISO 8601, UTC); null when nothing does. */
  next: { what: string; at: string | null } | null
}

export function newStatus(id: string, attempts: AttemptSummary[]): MessageStatus {
  return {
    id, reversePath: '', recipients: [], recipientCount: 0, acceptedAt: null, expiresAt: null, held: undefined, attempts, waitsFor: null,
    next: { what: 'the header fields are stamped', at: null },
  }
}

export function noteStamped(status: MessageStatus, stamped: Stamped): void {
  status.reversePath = stamped.reversePath
  status.recipientCount = stamped.recipientCount
  status.recipients = stamped.recipients.map((r) => ({ state: 'queued', text: null, nextAttemptAt: null, ...r }))
  status.acceptedAt = iso(stamped.acceptedAt)
  status.expiresAt = iso(stamped.expiresAt)
}

const stateAfter = { delivered: 'delivered', deferred: 'queued', bounced: 'bouncing' } as const

export function noteAttempt(status: MessageStatus, attempt: AttemptSummary | null): void {
  if (!attempt) return
  status.attempts = latest([...status.attempts, attempt])
  const byNumber = new Map(attempt.outcomes.map((outcome) => [outcome.n, outcome]))
  for (const recipient of status.recipients) {
    const outcome = byNumber.get(recipient.n)
    if (!outcome) continue
    recipient.state = stateAfter[outcome.status]
    recipient.text = outcome.text
    recipient.nextAttemptAt = outcome.nextAttemptAt
  }
}

/** The last of them, as many as fit. */
export function latest(attempts: AttemptSummary[], most = attemptsKept): AttemptSummary[] {
  let first = attempts.length
  for (let room = charactersKept; first > Math.max(0, attempts.length - most); first--) {
    room -= JSON.stringify(attempts[first - 1]).length
    if (room < 0) break
  }
  return attempts.slice(first)
}

export function noteReporting(status: MessageStatus): void {
  status.next = { what: 'a report is sent', at: null }
}

/** After a report: whoever has failed is settled. An expiry that was refused, since there is more time, has settled nobody. */
export function noteReport(status: MessageStatus, failed: number[]): void {
  for (const recipient of status.recipients) {
    if (!failed.includes(recipient.n)) continue
    recipient.state = 'failed'
    recipient.nextAttemptAt = null
  }
}

/** Before the workflow waits: says for what, to the query and in Temporal's own UI. */
export function noteNext(status: MessageStatus, progress: Progress, inFlight: Set<Group>, wakeAt: number | null): void {
  status.held = progress.heldAt !== null
  if (!status.held) status.expiresAt = iso(progress.expiresAt)
  if (inFlight.size > 0) {
    status.next = { what: 'attempts are under way', at: null }
  } else if (status.held) {
    status.next = { what: `on hold since ${iso(progress.heldAt!)}, until an operator releases it`, at: null }
  } else {
    status.waitsFor = progress.waits?.destination ?? null
    status.next = { what: progress.waits ? `the next attempt, since ${progress.waits.why}` : 'the next attempt', at: wakeAt === null ? null : iso(wakeAt) }
  }
  const hops = [...inFlight].map((group) => group.nextHop).join(', ')
  const { outcomes = [], others = [] } = status.attempts.at(-1) ?? {}
  const last = [...outcomes, ...others].find((outcome) => outcome.status !== 'delivered')?.text
  const { what, at } = status.next
  setCurrentDetails([
    `Waits for: ${what}${hops ? ` to ${hops}` : ''}${at ? ` at ${at}` : ''}.`,
    ...(last ? [`Last: ${last}`] : []),
    `From <${status.reversePath}>, ${progress.queued + progress.unreported} of ${status.recipientCount} recipients not settled.`,
  ].join('\n\n'))
}

/** Nothing happens any more. */
export function noteEnd(status: MessageStatus): void {
  status.next = null
  setCurrentDetails(`All ${status.recipientCount} recipients are settled.`)
}

function iso(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}
