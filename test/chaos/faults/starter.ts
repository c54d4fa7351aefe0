// worker/starter.ts with its points.

import * as real from '../../../worker/starter.ts'
import { reach } from './points.ts'

export function workflowStarter(...args: Parameters<typeof real.workflowStarter>): (id: string) => Promise<void> {
  const start = real.workflowStarter(...args)
  return async (id) => {
    reach('I5')
    reach('W8')
    await start(id)
    reach('I6')
  }
}
