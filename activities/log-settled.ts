// The line in the log for a recipient whose fate is decided without an attempt: expired, or returned or dropped by an operator.

import { postgresTime } from '../store/clock.ts'
import type { MessageRow } from '../store/messages.ts'
import type { ActivityDeps } from './index.ts'

export interface SettledLine {
  to: string
  /** The address that the sender knows, where it is another; null or left out: it is not. */
  original?: string | null
  status: 'expired' | 'bounced'
  /** Enhanced status code. */
  dsn: string
  /** The last attempt's number; 0 without any. */
  attempt?: number
  text: string
}

/** With the fields of an attempt's line, so that whoever reads the log by `to` and `status` learns the end. All the time was in the queue. */
export function logSettled({ log }: ActivityDeps, { id, reversePath, acceptedAt }: MessageRow, { to, original, status, dsn, attempt, text }: SettledLine): void {
  const delay = Math.max(0, Math.round((postgresTime() - acceptedAt.getTime()) / 10) / 100)
  log.info({ id, to, orig_to: original ?? undefined, from: reversePath, relay: 'none', attempt, delay, delays: `0/${delay}/0/0`, dsn, status, text }, status)
}
