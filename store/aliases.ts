// Aliases: addresses that stand for others. Read as a whole, since every process keeps all of them in memory.

import type { Sql } from './database.ts'

export interface AliasRow {
  /** In the form that is compared: lower case, its domain as A-labels. */
  address: string
  targets: string[]
}

export async function listAliases(sql: Sql): Promise<AliasRow[]> {
  return await sql<AliasRow[]>`select address, targets from aliases order by address`
}

/** A text that differs once any alias was set or removed, whatever the clock said then, and in whatever order they were committed. */
export async function aliasesVersion(sql: Sql): Promise<string> {
  const [row] = await sql<{ version: string }[]>`select count(*) || ' ' || coalesce(sum(extract(epoch from changed_at)), 0) as version from aliases`
  return row!.version
}

/** Makes the alias, or gives it other targets. */
export async function setAlias(sql: Sql, address: string, targets: string[]): Promise<void> {
  await sql`
    insert into aliases (address, targets) values (${address}, ${targets})
    on conflict (address) do update set targets = excluded.targets, changed_at = now()`
}

/** Returns false when there is none of this address. */
export async function removeAlias(sql: Sql, address: string): Promise<boolean> {
  const rows = await sql`delete from aliases where address = ${address} returning address`
  return rows.length === 1
}
