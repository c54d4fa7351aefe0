// The connection to Postgres, and the settings of the server that the promise rests on.

import postgres from 'postgres'

export type Sql = postgres.Sql

/** Opens a pool. `connections` bounds it; nothing is connected before the first statement. */
export function openDatabase(url: string, connections: number, application = 'everpost'): Sql {
  return postgres(url, {
    max: connections,
    connect_timeout: 10,
    idle_timeout: 0,
    onnotice: () => {},
    connection: { application_name: application },
    types: { bigint: { to: 20, from: [20], parse: Number, serialize: String } },
  })
}

/**
 * Refuses a server whose settings break the promise that a message answered 250 is never lost.
 * Throws an Error that names each setting and what it must be.
 */
export async function checkDurability(sql: Sql): Promise<void> {
  const rows = await sql<{ name: string; setting: string }[]>`
    select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit')`
  const faults = rows.filter((row) => row.setting === 'off').map((row) => `${row.name} is off`)
  if (faults.length > 0) {
    throw new Error(`Postgres would lose accepted mail: ${faults.join(', ')}. Turn it on in postgresql.conf and start again.`)
  }
}
