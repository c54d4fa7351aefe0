// Faults of the network: DNS fails, the next hop is down, and peers are cut off without a word, which needs a network of our own.

import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Random } from '../random.ts'
import type { Cluster } from '../cluster.ts'
import type { Acts } from './act.ts'

export const networkActs: Acts = {
  'DNS fails': {
    weight: 1,
    async do(cluster, random) {
      cluster.tellSink({ do: 'dns', answer: random.pick(['SERVFAIL', 'SILENT'] as const) })
      await sleep(random.between(1000, 4000))
      cluster.tellSink({ do: 'dns', answer: 'right' })
    },
  },
  'the next hop is down': {
    weight: 1,
    async do(cluster, random) {
      cluster.tellSink({ do: 'close' })
      await sleep(random.between(500, 3000))
      cluster.tellSink({ do: 'open' })
    },
  },
}

const nft = (...rule: string[]) => promisify(execFile)('nft', rule.join(' ').split(' '))

/** No packet passes to or from this port while `meanwhile` goes on: neither end hears of it. */
async function cutOff(port: number, meanwhile: () => Promise<unknown>): Promise<void> {
  await nft('add table inet chaos')
  await nft('add chain inet chaos input { type filter hook input priority 0 ; }')
  await nft(`add rule inet chaos input tcp dport ${port} drop`)
  await nft(`add rule inet chaos input tcp sport ${port} drop`)
  try {
    await meanwhile()
  } finally {
    await nft('delete table inet chaos')
  }
}

const portOf = (address: string) => Number(new URL(address.includes('://') ? address : `tcp://${address}`).port)
const awhile = (cluster: Cluster, random: Random) => sleep(random.between(1000, cluster.patient ? 15_000 : 5000))

export const packetActs: Acts = {
  'the next hop unreachable': { weight: 1, do: (cluster, random) => cutOff(cluster.sinkPort, () => awhile(cluster, random)) },
  // Half-open: its resets are dropped, too, so our side learns of it from nobody.
  'the next hop vanishes': {
    weight: 1,
    do: (cluster, random) => cutOff(cluster.sinkPort, async () => {
      cluster.tellSink({ do: 'close' })
      await awhile(cluster, random)
      cluster.tellSink({ do: 'open' })
    }),
  },
  'Postgres unreachable': { weight: 1, do: (cluster, random) => cutOff(portOf(cluster.postgres.url), () => awhile(cluster, random)) },
  'Postgres vanishes': {
    weight: 1,
    kills: 'postmaster',
    async do(cluster, random) {
      await cutOff(portOf(cluster.postgres.url), async () => {
        process.kill(cluster.postgres.pid, 'SIGKILL')
        await awhile(cluster, random)
      })
      await cluster.restartPostgres()
    },
  },
  'Temporal unreachable': { weight: 1, do: (cluster, random) => cutOff(portOf(cluster.temporal.address), () => awhile(cluster, random)) },
}
