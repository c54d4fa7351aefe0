// control: what an operator asked of the message, done and recorded in Postgres. The workflow then looks at what is due.

import type { ControlResult } from '../mail/control.ts'
import { controlMessage } from '../store/control.ts'
import type { ActivityDeps } from './index.ts'
import type { ControlArgument } from './types.ts'

export async function control(deps: ActivityDeps, { id, clock, update, request }: ControlArgument): Promise<ControlResult | { refused: string }> {
  const result = await controlMessage(deps.sql, id, request, update, clock, deps.settings.retention)
  const { action, who, why } = request
  if ('refused' in result) deps.log.info({ id, action, who, refused: result.refused }, 'operator refused')
  else deps.log.info({ id, action, who, why, recipients: result.count, busy: result.busy }, 'operator')
  return result
}
