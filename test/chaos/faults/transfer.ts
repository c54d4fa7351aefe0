// smtp/transfer.ts with its point.

import * as real from '../../../smtp/transfer.ts'
import { reach } from './points.ts'

export * from '../../../smtp/transfer.ts'

export async function transfer(...args: Parameters<typeof real.transfer>) {
  reach('W1')
  return await real.transfer(...args)
}
