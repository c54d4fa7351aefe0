// worker/starter.ts with its points.

import * as real from '../../../worker/starter.ts'
import { reach } from './points.ts'

export function workflowStarter(...args: Parameters<typeof real.workflowStarter>): real.StartMessage {
  const start = real.workflowStarter(...args)
  return async (...asked) => {
    reach('I5')
    reach('W8')
    const driven = await start(...asked)
    reach('I6')
    return driven
  }
}
