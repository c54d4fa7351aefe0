// store/attempts.ts with its points; sabotaged, it forgets that the dot was sent.

import * as real from '../../../store/attempts.ts'
import { reach, sabotage } from './points.ts'

export * from '../../../store/attempts.ts'

export async function claimAttempt(...[sql, request]: Parameters<typeof real.claimAttempt>) {
  if (!request.dot) return await real.claimAttempt(sql, request)
  reach('W3m')
  const claim = await real.claimAttempt(sql, { ...request, dot: sabotage === 'forget-dot' ? null : request.dot })
  if (claim) dotGoesOut()
  return claim
}

export async function markDot(...args: Parameters<typeof real.markDot>): Promise<boolean> {
  reach('W3m')
  const marked = sabotage === 'forget-dot' || (await real.markDot(...args))
  if (marked) dotGoesOut()
  return marked
}

/** It is written in the same turn; the sink takes its time to answer. */
function dotGoesOut(): void {
  setTimeout(() => reach('W4'), 1)
}

export async function recordAttempt(...args: Parameters<typeof real.recordAttempt>) {
  reach('W5')
  const progress = await real.recordAttempt(...args)
  reach('W6')
  return progress
}
