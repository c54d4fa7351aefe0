// control: what an operator asked of the workflow, by one of its updates, done and recorded in Postgres.

import { controlMessage } from '../store/control.ts'
import { isOfData } from '../store/database.ts'
import type { ActivityDeps } from './index.ts'
import type { ControlArgument, Controlled } from './types.ts'

export async function control(deps: ActivityDeps, { id, update, request }: ControlArgument): Promise<Controlled> {
  const done = await controlMessage(deps.sql, id, request, update, deps.settings.retention).catch((error) => {
    // To ask again would be refused again, and the message would stand still with it.
    if (isOfData(error)) return { refused: `it cannot be stored: ${(error as Error).message}` }
    throw error
  })
  const { action, who, why } = request
  if ('refused' in done) {
    deps.log.info({ id, action, who, refused: done.refused }, 'operator refused')
    return done
  }
  deps.log.info({ id, action, who, why, recipients: done.result.count, busy: done.result.busy }, 'operator')
  return done
}
