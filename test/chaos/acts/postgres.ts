// Faults of Postgres: it dies, stops, loses a backend, has no connection left, or holds a lock.

import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase, type Sql } from '../../../store/database.ts'
import type { Cluster } from '../cluster.ts'
import type { Acts } from './act.ts'

async function withDatabase(cluster: Cluster, use: (sql: Sql) => Promise<void>): Promise<void> {
  const sql = openDatabase(cluster.postgres.url, 1, 'nemesis')
  try {
    await use(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

export const postgresActs: Acts = {
  'kill -9 postmaster': {
    weight: 2,
    kills: 'postmaster',
    async do(cluster, random) {
      process.kill(cluster.postgres.pid, 'SIGKILL')
      await sleep(random.between(0, 1500))
      await cluster.restartPostgres()
    },
  },
  // Postgres itself then ends all backends, and recovers.
  'kill -9 one backend': {
    weight: 1,
    kills: 'backend',
    do: (cluster) => withDatabase(cluster, async (sql) => {
      const [backend] = await sql<{ pid: number }[]>`select pid from pg_stat_activity where application_name like 'everpost %' order by state = 'idle' limit 1`
      if (backend) process.kill(backend.pid, 'SIGKILL')
    }),
  },
  'Postgres stops at once': {
    weight: 1,
    async do(cluster, random) {
      process.kill(cluster.postgres.pid, 'SIGQUIT')
      await sleep(random.between(100, 1500))
      await cluster.restartPostgres()
    },
  },
  'one backend terminated': {
    weight: 3,
    do: (cluster) => withDatabase(cluster, async (sql) => {
      await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'everpost %' and state <> 'idle' limit 1`
    }),
  },
  'connections exhausted': {
    weight: 1,
    async do(cluster, random) {
      const hoard = openDatabase(cluster.postgres.url, 60, 'hoard')
      await Promise.allSettled(Array.from({ length: 60 }, () => hoard`select pg_sleep(${random.between(1, 3)})`))
      await hoard.end({ timeout: 1 })
    },
  },
  'a table locked': {
    weight: 1,
    do: (cluster, random) => withDatabase(cluster, async (sql) => {
      const seconds = cluster.patient && random.next() < 0.2 ? 60 : random.between(1, 6)
      await sql.begin(async (tx) => {
        await tx.unsafe(`lock table ${random.pick(['messages', 'recipients', 'attempts'])} in access exclusive mode`)
        await tx`select pg_sleep(${seconds})`
      })
    }),
  },
}
