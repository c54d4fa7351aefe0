// store/accept.ts with its points; sabotaged, it says that a message is committed before it is.

import * as real from '../../../store/accept.ts'
import { reach, sabotage } from './points.ts'

export * from '../../../store/accept.ts'

/** Milliseconds. */
const late = 500

export async function acceptMessage(...args: Parameters<typeof real.acceptMessage>): Promise<void> {
  reach('I3')
  if (sabotage === 'early-250' && args[1].kind === 'mail') return void setTimeout(() => real.acceptMessage(...args).catch(() => {}), late)
  await real.acceptMessage(...args)
  reach('I4')
}

export async function acceptMessages(...args: Parameters<typeof real.acceptMessages>): Promise<Date> {
  reach('I3')
  if (sabotage === 'early-250') {
    setTimeout(() => real.acceptMessages(...args).catch(() => {}), late)
    return new Date()
  }
  const at = await real.acceptMessages(...args)
  reach('I4')
  return at
}
