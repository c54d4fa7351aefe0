// VERP: recipients with a reverse-path of their own, each in a transaction of its own, one after the other on the same connection.

import type { AttemptResult, Outcome } from '../mail/outcome.ts'
import { brokenOff } from '../mail/verdict.ts'
import type { Delivery } from './attempt.ts'

/** Delivers once for each reverse-path, and so once in all for a message without VERP. */
export async function eachReversePath(delivery: Delivery, deliver: (delivery: Delivery) => Promise<AttemptResult>): Promise<AttemptResult> {
  const paths = [...new Set(delivery.recipients.map(({ verp }) => verp ?? delivery.message.reversePath))]
  const all: AttemptResult = { outcomes: {}, tries: [], dotSent: false }
  const sofar = () => Object.entries(all.outcomes).map(([n, outcome]) => [Number(n), outcome] as const)
  for (const reversePath of paths) {
    const recipients = delivery.recipients.filter(({ verp }) => (verp ?? delivery.message.reversePath) === reversePath)
    const partly = (outcomes: ReadonlyMap<number, Outcome>) => delivery.partly(new Map([...sofar(), ...outcomes]))
    const result = delivery.signal.aborted
      ? { outcomes: Object.fromEntries(recipients.map(({ n }) => [n, brokenOff('broken off before its turn')])), tries: [], dotSent: false }
      : await deliver({ ...delivery, message: { ...delivery.message, reversePath }, recipients, partly })
    Object.assign(all.outcomes, result.outcomes)
    all.tries.push(...result.tries)
    all.dotSent ||= result.dotSent
    // What is delivered is recorded before the next goes out, so that a crash repeats none of it. The last is recorded with the attempt's end:
    // the message would be finished before that, and its attempt, should the process die between the two, still open.
    if (reversePath !== paths.at(-1) && result.dotSent) await delivery.partly(new Map(Object.entries(result.outcomes).map(([n, outcome]) => [Number(n), outcome])))
  }
  return all
}
