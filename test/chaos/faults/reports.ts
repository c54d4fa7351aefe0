// store/reports.ts with its point.

import * as real from '../../../store/reports.ts'
import { reach } from './points.ts'

export * from '../../../store/reports.ts'

export async function settleFailed(...args: Parameters<typeof real.settleFailed>) {
  const settled = await real.settleFailed(...args)
  if (settled.dsn !== null) reach('W7')
  return settled
}
