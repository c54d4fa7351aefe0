// Migrations: the numbered SQL files in migrations/, each applied once, in order, under an advisory lock.

import { readdir, readFile } from 'node:fs/promises'
import { type Sql, UnfitDatabase } from './database.ts'

/** Any number that no other program uses: processes that start together take turns on it. */
const lockKey = 0x65766572 // "ever"

const folder = new URL('../../migrations/', import.meta.url)

interface Migration {
  number: number
  name: string
}

/** A line of a migration that programs without it cannot live with: they are refused from then on. Others they need not know. */
const breaking = /^-- Older programs cannot work with it\.$/m

/** The migrations that this program has, in order. */
export async function knownMigrations(): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => /^\d{3}_\w+\.sql$/.test(name)).sort()
  return names.map((name) => ({ number: Number(name.slice(0, 3)), name }))
}

/**
 * Brings the schema up to date; returns the names of what was applied. Several processes may call it at once. A schema that is newer than
 * this program is let alone, so that it may be restarted amid an upgrade, and gone back to after one; unless a migration that it does not
 * know changes what it counts on: then it throws an UnfitDatabase.
 */
export async function migrate(sql: Sql): Promise<string[]> {
  const known = await knownMigrations()
  return await sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(${lockKey})`
    await tx`
      create table if not exists migrations (
        number integer primary key, name text not null, applied_at timestamptz not null default now(), breaking boolean not null default false
      )`
    await tx`alter table migrations add column if not exists breaking boolean not null default false`
    const applied = await tx<{ number: number; breaking: boolean }[]>`select number, breaking from migrations order by number`
    const latest = known.at(-1)!.number
    const unknown = applied.find((row) => row.breaking && row.number > latest)
    if (unknown) throw new UnfitDatabase(`The database has schema ${unknown.number}, which programs must know; this one knows ${latest}. Run the newer version of Everpost that migrated it.`)
    const missing = known.filter(({ number }) => !applied.some((row) => row.number === number))
    for (const { number, name } of missing) {
      const text = await readFile(new URL(name, folder), 'utf8')
      await tx.unsafe(text)
      await tx`insert into migrations (number, name, breaking) values (${number}, ${name}, ${breaking.test(text)})`
    }
    return missing.map((migration) => migration.name)
  })
}
