// ingress/accept.ts with its point.

import * as real from '../../../ingress/accept.ts'
import { reach } from './points.ts'

export * from '../../../ingress/accept.ts'

export function openIntake(...args: Parameters<typeof real.openIntake>): real.Intake {
  reach('I1')
  return real.openIntake(...args)
}
