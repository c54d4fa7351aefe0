// The disk is full, or the power goes. It lies in an image of its own, so that it can be filled, and forget what was not synced.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Acts } from './act.ts'

export const powerGoes = 'the power goes'

export const diskActs: Acts = {
  'the disk is full': {
    weight: 1,
    async do(cluster, random) {
      try {
        await cluster.disk!.fill()
        await sleep(random.between(1000, cluster.patient ? 10_000 : 4000))
      } finally {
        cluster.disk!.clear()
      }
      // Out of room for its log Postgres panics, and cannot recover either: then whoever looks after it starts it again.
      await cluster.keepServers()
    },
  },
  [powerGoes]: {
    weight: 1,
    kills: 'power',
    do: (cluster, random) => cluster.losePower(cluster.disk!, random.between(0, 1500)),
  },
}
