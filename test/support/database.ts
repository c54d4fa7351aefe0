// A database of its own for a test: on the server that the runner started, else on one started for this file alone.

import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startPostgres } from '../../dev/postgres.ts'
import { openDatabase, type Sql } from '../../store/database.ts'
import { migrate } from '../../store/migrate.ts'

export interface TestDatabase {
  sql: Sql
  url: string
  drop(): Promise<void>
}

export interface TestDatabaseOptions {
  /** Without the schema. */
  empty?: boolean
  /** Its clock can be turned: `now()` is a function of our own, found before that of Postgres, also by the schema's defaults. */
  clock?: boolean
}

export async function testDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const given = process.env['EVERPOST_TEST_DATABASE_URL']
  const server = given ? { url: given, stop: async () => {} } : await ownServer()
  const admin = openDatabase(server.url, 1)
  const name = `test_${randomBytes(6).toString('hex')}`
  await admin.unsafe(`create database ${name}`)
  const url = new URL(server.url)
  url.pathname = `/${name}`
  if (options.clock) await makeClock(url.href, name)
  const sql = openDatabase(url.href, 10)
  if (!options.empty) await migrate(sql)
  return {
    sql,
    url: url.href,
    async drop() {
      await sql.end({ timeout: 1 })
      await admin.unsafe(`drop database ${name} with (force)`)
      await admin.end({ timeout: 1 })
      await server.stop()
    },
  }
}

/** Turns the clock of a database made with `clock`; by it the database's time goes on from there. */
export async function turnClock(sql: Sql, minutes: number): Promise<void> {
  await sql`update clock.turned set by = by + ${minutes}::float8 * interval '1 minute'`
}

async function makeClock(url: string, name: string): Promise<void> {
  const sql = openDatabase(url, 1)
  await sql.unsafe(`
    create schema clock;
    create table clock.turned (by interval not null);
    insert into clock.turned values ('0');
    create function clock.now() returns timestamptz stable language sql as 'select pg_catalog.now() + by from clock.turned';
    alter database ${name} set search_path = clock, pg_catalog, public`)
  await sql.end({ timeout: 1 })
}

async function ownServer(): Promise<{ url: string; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-test-'))
  const running = await startPostgres({ folder, progress: () => {} })
  return {
    url: running.url,
    async stop() {
      await running.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
