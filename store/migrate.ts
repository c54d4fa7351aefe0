// Migrations: the numbered SQL files in migrations/, each applied once, in order, under an advisory lock.

import { readdir, readFile } from 'node:fs/promises'
import type { Sql } from './database.ts'

/** Any number that no other program uses: processes that start together take turns on it. */
const lockKey = 0x65766572 // "ever"

const folder = new URL('../../migrations/', import.meta.url)

interface Migration {
  number: number
  name: string
}

/** The migrations that this program has, in order. */
export async function knownMigrations(): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => /^\d{3}_\w+\.sql$/.test(name)).sort()
  return names.map((name) => ({ number: Number(name.slice(0, 3)), name }))
}

/**
 * Brings the schema up to date; returns the names of what was applied. Several processes may call it at once. Throws
 * when the schema is newer than this program: an old program must not write into tables that it does not know.
 */
export async function migrate(sql: Sql): Promise<string[]> {
  const known = await knownMigrations()
  return await sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(${lockKey})`
    await tx`create table if not exists migrations (number integer primary key, name text not null, applied_at timestamptz not null default now())`
    const applied = new Set((await tx<{ number: number }[]>`select number from migrations`).map((row) => row.number))
    const newest = Math.max(0, ...applied)
    const latest = known.at(-1)!.number
    if (newest > latest) {
      throw new Error(
        `The database has schema ${newest}, this program knows ${latest}. Run the newer version of Everpost that migrated it.`,
      )
    }
    const missing = known.filter((migration) => !applied.has(migration.number))
    for (const migration of missing) {
      await tx.unsafe(await readFile(new URL(migration.name, folder), 'utf8'))
      await tx`insert into migrations (number, name) values (${migration.number}, ${migration.name})`
    }
    return missing.map((migration) => migration.name)
  })
}
