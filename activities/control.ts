// control: what an operator asked of the message, done and recorded in Postgres. The workflow then looks at what is due.

import { controlMessage } from '../store/control.ts'
import type { ActivityDeps } from './index.ts'
import type { ControlArgument, Controlled } from './types.ts'

export async function control(deps: ActivityDeps, { id, clock, update, request }: ControlArgument): Promise<Controlled> {
  const done = await controlMessage(deps.sql, id, request, update, clock, deps.settings.retention)
  const { action, who, why } = request
  if ('refused' in done) deps.log.info({ id, action, who, refused: done.refused }, 'operator refused')
  else deps.log.info({ id, action, who, why, recipients: done.result.count, busy: done.result.busy }, 'operator')
  return done
}
