// store/attempts.ts with its points; sabotaged, it forgets that the dot was sent.

import * as real from '../../../store/attempts.ts'
import { reach, sabotage } from './points.ts'

export * from '../../../store/attempts.ts'

export async function claimAttempt(...args: Parameters<typeof real.claimAttempt>) {
  const claim = await real.claimAttempt(...args)
  if (claim) reach('W1')
  return claim
}

export async function markDot(...args: Parameters<typeof real.markDot>): Promise<boolean> {
  reach('W3m')
  const marked = sabotage === 'forget-dot' || (await real.markDot(...args))
  // The dot is written in the same turn; the sink takes its time to answer.
  if (marked) setTimeout(() => reach('W4'), 1)
  return marked
}

export async function recordAttempt(...args: Parameters<typeof real.recordAttempt>) {
  reach('W5')
  const progress = await real.recordAttempt(...args)
  reach('W6')
  return progress
}
