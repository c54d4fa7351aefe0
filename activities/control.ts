// control: what an operator asked of the workflow, by one of its updates, done and recorded in Postgres.

import { controlMessage, refusedData } from '../store/control.ts'
import type { ActivityDeps } from './index.ts'
import type { ControlArgument, Controlled } from './types.ts'

export async function control(deps: ActivityDeps, { id, update, request }: ControlArgument): Promise<Controlled> {
  // What would be refused again is not tried again: the message would stand still with it.
  const done = await controlMessage(deps.sql, id, request, update, deps.settings.retention).catch(refusedData)
  const { action, who, why } = request
  if ('refused' in done) {
    deps.log.info({ id, action, who, refused: done.refused }, 'operator refused')
    return done
  }
  deps.log.info({ id, action, who, why, recipients: done.result.count, busy: done.result.busy }, 'operator')
  return done
}
