// Faults of Temporal: it dies, stops answering, or forgets everything.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Acts } from './act.ts'

export const temporalActs: Acts = {
  'kill -9 Temporal': {
    weight: 2,
    kills: 'Temporal',
    async do(cluster, random) {
      process.kill(cluster.temporal.pid, 'SIGKILL')
      await sleep(random.between(0, 2000))
      await cluster.restartTemporal(false)
    },
  },
  'Temporal pauses': {
    weight: 1,
    async do(cluster, random) {
      process.kill(cluster.temporal.pid, 'SIGSTOP')
      await sleep(random.between(1000, cluster.patient ? 15_000 : 5000))
      process.kill(cluster.temporal.pid, 'SIGCONT')
    },
  },
}

/** The drain then takes minutes: only the outbox finds such messages. */
export const wipe: Acts = {
  'Temporal wiped': {
    weight: 1,
    kills: 'Temporal',
    async do(cluster) {
      process.kill(cluster.temporal.pid, 'SIGKILL')
      await cluster.restartTemporal(true)
    },
  },
}
