// ingress/accept.ts with its point.

import * as real from '../../../ingress/accept.ts'
import { reach } from './points.ts'

export async function accept(...args: Parameters<typeof real.accept>): Promise<string> {
  reach('I1')
  return await real.accept(...args)
}
