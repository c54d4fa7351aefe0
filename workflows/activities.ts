// The activities as the workflow calls them: first inside the workflow task, where a message that is delivered at once
// costs Temporal the least; then as activities of their own, which Temporal keeps trying while infrastructure is broken.

import { ActivityFailure, ApplicationFailure, isCancellation, proxyActivities, proxyLocalActivities } from '@temporalio/workflow'
import type { AttemptArgument, Attempted, FirstPass, MessageActivities, MessageArgument, Stamped } from '../activities/types.ts'

const local = proxyLocalActivities<MessageActivities>({
  // Longer than the reply to the final dot may take (RFC 5321 section 4.5.3.2.6); before the dot the activity stops itself.
  startToCloseTimeout: '15 minutes',
  retry: { maximumAttempts: 1 },
})

// A retry policy is for broken infrastructure alone: an activity throws when Postgres is away, never for what a peer does.
const retry = { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '1 minute' } as const

// They do not heartbeat, so this is how long a message waits when the worker that has one of them dies; done twice, none does harm.
const brief = proxyActivities<MessageActivities>({ startToCloseTimeout: '30 seconds', retry })

// Where what is due cannot even be found, the message must be able to expire.
const bounded = proxyActivities<MessageActivities>({ startToCloseTimeout: '2 minutes', scheduleToCloseTimeout: '10 minutes', retry })

const long = proxyActivities<MessageActivities>({
  // Longer than an attempt lasts before its final dot (activities/attempt.ts) and until the reply to it.
  startToCloseTimeout: '2 hours',
  // Not for ever: an attempt that cannot even begin counts as deferred, so that expiry does not depend on it.
  scheduleToCloseTimeout: '4 hours',
  // Three times what the attempts keep to; and no longer than their leases, so that a dead worker's message does not wait for both.
  heartbeatTimeout: '30 seconds',
  retry,
})

/** Whether the database does not know the message: it was taken back to a state from before it, and nothing can be done here any more. */
export function isUnknownMessage(error: unknown): boolean {
  const said = error instanceof ActivityFailure ? error.cause : error // of a local activity it is the error itself
  return said instanceof ApplicationFailure && said.type === 'UnknownMessage'
}

/** What is no failure of the moment, and must not be tried again. */
export function endsRun(error: unknown): boolean {
  return isCancellation(error) || isUnknownMessage(error)
}

/** Runs an activity in the workflow task, and when infrastructure fails it there, as one that is retried until it works. */
function localFirst<A, R>(first: (argument: A) => Promise<R>, then: (argument: A) => Promise<R>): (argument: A) => Promise<R> {
  return async (argument) => {
    try {
      return await first(argument)
    } catch (error) {
      if (endsRun(error)) throw error
      return await then(argument)
    }
  }
}

export const resolveNextHop = localFirst(local.resolveNextHop, bounded.resolveNextHop)
export const sendDsn = localFirst(local.sendDsn, brief.sendDsn)
// The main loop calls it between its own steps: beside another local activity it would not be replayed in order.
export const control = localFirst(local.control, brief.control)

interface Begun {
  stamped: Stamped
  /** null: there was none. */
  pass: FirstPass | null
}

async function passFirst(argument: MessageArgument): Promise<Begun | null> {
  const pass = await local.firstPass(argument)
  return pass && { stamped: pass.stamped, pass }
}

async function stampAlone(argument: MessageArgument): Promise<Begun | null> {
  const stamped = await brief.stampHeaders(argument)
  return stamped && { stamped, pass: null }
}

const passOrStamp = localFirst(passFirst, stampAlone)

/**
 * What a run begins with: the first pass, inside the workflow task; in later runs, and when infrastructure fails it there, the stamp
 * alone. null: there is nothing left to do.
 */
export async function begin(argument: MessageArgument, first: boolean): Promise<Begun | null> {
  return await (first ? passOrStamp : stampAlone)(argument)
}

/** One attempt for a group of recipients, by the agent that serves it. */
export async function attempt(argument: AttemptArgument): Promise<Attempted> {
  return await long[argument.group.agent === 'smtp' ? 'attemptTransfer' : 'handOff'](argument)
}
