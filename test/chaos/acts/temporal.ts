// Faults of Temporal: it dies, stops answering, or forgets everything.

import { setTimeout as sleep } from 'node:timers/promises'
import { kill } from '../../support/kill.ts'
import type { Acts } from './act.ts'

export const temporalActs: Acts = {
  'kill -9 Temporal': {
    weight: 2,
    kills: 'Temporal',
    async do(cluster, random) {
      kill(cluster.temporal.pid, 'SIGKILL')
      await sleep(random.between(0, 2000))
      await cluster.restartTemporal(false)
    },
  },
  'Temporal pauses': {
    weight: 1,
    async do(cluster, random) {
      kill(cluster.temporal.pid, 'SIGSTOP')
      await sleep(random.between(1000, cluster.patient ? 15_000 : 5000))
      kill(cluster.temporal.pid, 'SIGCONT')
    },
  },
}

/** Rare: only the outbox finds such messages, minutes later, so that with many wipes nothing else would be tried. */
export const wipe: Acts = {
  'Temporal wiped': {
    weight: 0.3,
    kills: 'Temporal',
    async do(cluster) {
      kill(cluster.temporal.pid, 'SIGKILL')
      await cluster.restartTemporal(true)
    },
  },
}
