// The retry schedule: when a deferred recipient is tried again. Pure; times are milliseconds since 1970.

export interface RetrySchedule {
  /** Milliseconds before the second attempt. */
  minimalBackoffTime: number
  /** No two attempts are further apart than this, in milliseconds. */
  maximalBackoffTime: number
}

/**
 * When to try again after the attempt with this ordinal (1 is the first). The pause doubles from the minimal to the
 * maximal backoff time (RFC 5321 section 4.5.4.1), and up to a tenth is added by `random` (0 to 1), so that messages
 * deferred together do not come back together.
 */
export function nextAttemptAt(now: number, attempt: number, schedule: RetrySchedule, random: number): number {
  const doubled = schedule.minimalBackoffTime * 2 ** Math.min(Math.max(attempt, 1) - 1, 40)
  const pause = Math.min(doubled, schedule.maximalBackoffTime)
  return Math.round(now + pause * (1 + 0.1 * random))
}
