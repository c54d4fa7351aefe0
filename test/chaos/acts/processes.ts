// Faults of our own processes: they die, stop, and are replaced.

import { setTimeout as sleep } from 'node:timers/promises'
import { type Cluster, lease, type Role, roles } from '../cluster.ts'
import type { Acts } from './act.ts'

function kill(cluster: Cluster, role: Role, signal: NodeJS.Signals): void {
  cluster.everposts[role]?.kill(signal)
}

export const processActs: Acts = {
  'kill -9 ingress': { weight: 4, do: (cluster) => kill(cluster, 'ingress', 'SIGKILL') },
  'kill -9 serve': { weight: 4, do: (cluster) => kill(cluster, 'serve', 'SIGKILL') },
  'kill -9 worker': { weight: 4, do: (cluster) => kill(cluster, 'worker', 'SIGKILL') },
  'kill -9 all three': { weight: 1, do: (cluster) => roles.forEach((role) => { kill(cluster, role, 'SIGKILL') }) },
  'deploy (SIGTERM)': { weight: 1, do: (cluster, random) => kill(cluster, random.pick(roles), 'SIGTERM') },
  'rolling deploy': {
    weight: 1,
    async do(cluster) {
      for (const role of roles) {
        kill(cluster, role, 'SIGTERM')
        await sleep(1500)
      }
    },
  },
  'pause past the lease': {
    weight: 2,
    async do(cluster, random) {
      const child = cluster.everposts[random.pick(['serve', 'worker'] as const)]
      child?.kill('SIGSTOP')
      await sleep(lease + random.between(500, 2500))
      child?.kill('SIGCONT')
    },
  },
}
