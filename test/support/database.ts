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

/** `empty`: without the schema. */
export async function testDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const given = process.env['EVERPOST_TEST_DATABASE_URL']
  const server = given ? { url: given, stop: async () => {} } : await ownServer()
  const admin = openDatabase(server.url, 1)
  const name = `test_${randomBytes(6).toString('hex')}`
  await admin.unsafe(`create database ${name}`)
  const url = new URL(server.url)
  url.pathname = `/${name}`
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
