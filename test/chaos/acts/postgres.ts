// Faults of Postgres: it dies, stops, loses a backend, has no connection left, or holds a lock.

import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase, type Sql } from '../../../store/database.ts'
import { temporalDatabases } from '../../support/temporal-on-postgres.ts'
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

/** Backends of Everpost, and of Temporal where it is on this Postgres: those at work, or those that are not. */
async function victims(sql: Sql, busy: boolean): Promise<number[]> {
  const rows = await sql<{ pid: number }[]>`
    select pid from pg_stat_activity
    where (application_name like 'everpost %' or datname = any(${temporalDatabases})) and (state <> 'idle') = ${busy} order by pid`
  return rows.map(({ pid }) => pid)
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
    do: (cluster, random) => withDatabase(cluster, async (sql) => {
      const busy = await victims(sql, true)
      const pids = busy.length > 0 ? busy : await victims(sql, false)
      if (pids.length > 0) process.kill(random.pick(pids), 'SIGKILL')
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
    do: (cluster, random) => withDatabase(cluster, async (sql) => {
      const pids = await victims(sql, true)
      if (pids.length > 0) await sql`select pg_terminate_backend(${random.pick(pids)})`
    }),
  },
  'connections exhausted': {
    weight: 1,
    async do(cluster, random) {
      const all = cluster.connections
      const hoard = openDatabase(cluster.postgres.url, all, 'hoard')
      await Promise.allSettled(Array.from({ length: all }, () => hoard`select pg_sleep(${random.between(1, 3)})`))
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
