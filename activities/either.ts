// One signal of several. AbortSignal.any and AbortSignal.timeout would do, but Node 20 never lets go of the former once somebody has
// listened to it, some 1.3 KiB for each attempt, and collects the latter as garbage before its time when only the former knows of it.

import { setMaxListeners } from 'node:events'

export interface Either {
  /** Aborted when one of the others is, or when the time is over. */
  signal: AbortSignal
  /** Whether it was its time that ended it, before anything else did. */
  timedOut(): boolean
  abort(): void
  /** Lets go of the others; to be called when nobody waits any more. */
  end(): void
}

/** `time`: milliseconds. */
export function eitherOf(others: AbortSignal[], time?: number): Either {
  const controller = new AbortController()
  const abort = () => controller.abort()
  let timedOut = false
  const timer = time === undefined ? undefined : setTimeout(() => {
    timedOut = !controller.signal.aborted
    abort()
  }, time)
  for (const other of others) {
    // A message for many next hops has as many attempts that wait for one signal: no leak.
    setMaxListeners(0, other)
    if (other.aborted) abort()
    else other.addEventListener('abort', abort)
  }
  return {
    signal: controller.signal,
    timedOut: () => timedOut,
    abort,
    end() {
      clearTimeout(timer)
      for (const other of others) other.removeEventListener('abort', abort)
    },
  }
}
