// store/reports.ts with its point.

import * as real from '../../../store/reports.ts'
import { reach } from './points.ts'

export * from '../../../store/reports.ts'

export async function settleReports(...args: Parameters<typeof real.settleReports>) {
  const settled = await real.settleReports(...args)
  if (settled.reports.length > 0) reach('W7')
  return settled
}
