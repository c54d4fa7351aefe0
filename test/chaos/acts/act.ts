// What an act of the nemesis is. The acts stand beside this file, by kind.

import type { Cluster } from '../cluster.ts'
import type { Random } from '../random.ts'

export interface Act {
  /** How often it comes, beside the others. */
  weight: number
  /** One of the cluster's servers dies by it: counted under this name. */
  kills?: string
  /** Resolves when its victims are being started again. */
  do(cluster: Cluster, random: Random): Promise<void> | void
}

export type Acts = Record<string, Act>
