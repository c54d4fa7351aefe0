// The adversary: at moments and in an order that the seed decides, kills, pauses and starves what a cluster is made of.

import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase, type Sql } from '../../store/database.ts'
import { type Cluster, lease, type Role, roles } from './cluster.ts'
import { type Point, points } from './faults/points.ts'
import type { Random } from './random.ts'

export interface Nemesis {
  /** One act; resolves when its victims are being started again. Returns what it was. */
  act(): Promise<string>
  /** How a process is armed when it starts. */
  arm(role: Role): string
  /** Undoes whatever lasts. */
  relent(): Promise<void>
}

type Act = (cluster: Cluster, random: Random) => Promise<void>

const acts: Record<string, { weight: number; act: Act }> = {
  'kill -9 ingress': { weight: 4, act: async (cluster) => kill(cluster, 'ingress', 'SIGKILL') },
  'kill -9 serve': { weight: 4, act: async (cluster) => kill(cluster, 'serve', 'SIGKILL') },
  'kill -9 worker': { weight: 4, act: async (cluster) => kill(cluster, 'worker', 'SIGKILL') },
  'kill -9 all three': { weight: 1, act: async (cluster) => roles.forEach((role) => { kill(cluster, role, 'SIGKILL') }) },
  'deploy (SIGTERM)': { weight: 2, act: async (cluster, random) => kill(cluster, random.pick(roles), 'SIGTERM') },
  'pause past the lease': {
    weight: 2,
    async act(cluster, random) {
      const child = cluster.everposts[random.pick(['serve', 'worker'] as const)]
      child?.kill('SIGSTOP')
      await sleep(lease + random.between(500, 2500))
      child?.kill('SIGCONT')
    },
  },
  'kill -9 postmaster': {
    weight: 2,
    async act(cluster, random) {
      process.kill(cluster.postgres.pid, 'SIGKILL')
      await sleep(random.between(0, 1500))
      await cluster.restartPostgres()
    },
  },
  'Postgres stops at once': {
    weight: 1,
    async act(cluster, random) {
      process.kill(cluster.postgres.pid, 'SIGQUIT')
      await sleep(random.between(100, 1500))
      await cluster.restartPostgres()
    },
  },
  'one backend terminated': {
    weight: 3,
    act: async (cluster) => withDatabase(cluster, async (sql) => {
      await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'everpost %' and state <> 'idle' limit 1`
    }),
  },
  'connections exhausted': {
    weight: 1,
    async act(cluster, random) {
      const hoard = openDatabase(cluster.postgres.url, 60, 'hoard')
      await Promise.allSettled(Array.from({ length: 60 }, () => hoard`select pg_sleep(${random.between(1, 3)})`))
      await hoard.end({ timeout: 1 })
    },
  },
  'a table locked': {
    weight: 1,
    act: async (cluster, random) => withDatabase(cluster, async (sql) => {
      await sql.begin(async (tx) => {
        await tx.unsafe(`lock table ${random.pick(['messages', 'recipients', 'attempts'])} in access exclusive mode`)
        await tx`select pg_sleep(${random.between(1, 6)})`
      })
    }),
  },
  'kill -9 Temporal': {
    weight: 2,
    async act(cluster, random) {
      process.kill(cluster.temporal.pid, 'SIGKILL')
      await sleep(random.between(0, 2000))
      await cluster.restartTemporal(false)
    },
  },
  'DNS fails': {
    weight: 1,
    async act(cluster, random) {
      cluster.tellSink({ do: 'dns', answer: random.pick(['SERVFAIL', 'SILENT'] as const) })
      await sleep(random.between(1000, 4000))
      cluster.tellSink({ do: 'dns', answer: 'right' })
    },
  },
  'the next hop is down': {
    weight: 1,
    async act(cluster, random) {
      cluster.tellSink({ do: 'close' })
      await sleep(random.between(500, 3000))
      cluster.tellSink({ do: 'open' })
    },
  },
}

const wipe: Act = async (cluster) => {
  process.kill(cluster.temporal.pid, 'SIGKILL')
  await cluster.restartTemporal(true)
}

/** `wipes`: among the acts is the loss of Temporal's database. `deadly`: only kill -9 of ours, for the negative controls. */
export function createNemesis(cluster: Cluster, random: Random, { wipes, deadly }: { wipes: boolean; deadly: boolean }): Nemesis {
  const table = Object.entries({ ...acts, ...(wipes ? { 'Temporal wiped': { weight: 1, act: wipe } } : {}) }).filter(([name]) => !deadly || name.startsWith('kill -9'))
  const total = table.reduce((sum, [, { weight }]) => sum + weight, 0)
  return {
    async act() {
      let at = random.next() * total
      const [name, { act }] = table.find(([, { weight }]) => {
        at -= weight
        return at < 0
      })!
      // A database that is just coming back refuses some acts; that is no fault of anyone.
      await act(cluster, random).catch((error) => console.error(`chaos: ${name}: ${error}`))
      return name
    },
    arm(role) {
      if (random.next() < 0.4) return ''
      const mine = points.filter((point) => role === 'serve' || point.startsWith(role === 'ingress' ? 'I' : 'W'))
      const point: Point = random.pick(mine)
      const rare = point === 'I2' || point === 'W7'
      return `${point}:${random.next() < 0.15 ? 'SIGSTOP' : 'SIGKILL'}:${random.between(1, rare ? 2 : 10)}`
    },
    async relent() {
      cluster.tellSink({ do: 'dns', answer: 'right' })
    },
  }
}

function kill(cluster: Cluster, role: Role, signal: NodeJS.Signals): void {
  cluster.everposts[role]?.kill(signal)
}

async function withDatabase(cluster: Cluster, use: (sql: Sql) => Promise<void>): Promise<void> {
  const sql = openDatabase(cluster.postgres.url, 1, 'nemesis')
  try {
    await use(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}
