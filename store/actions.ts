// Actions: what operators did to a message, who, when and why.

import type { Sql } from './database.ts'

export interface ActionRow {
  at: Date
  who: string
  action: string
  why: string
  detail: { recipients?: string[]; count?: number; nextHop?: string | null; lifetime?: number; to?: string }
}

/** The same done to each of these messages. To be called in the transaction that does what it records. */
export async function recordActions(tx: Sql, { who, action, why }: Pick<ActionRow, 'who' | 'action' | 'why'>, to: { id: string; detail: object }[]): Promise<void> {
  await tx`
    insert into actions (message_id, at, who, action, why, detail) select id, clock_timestamp(), ${who}, ${action}, ${why}, detail::jsonb
    from unnest(${to.map(({ id }) => id)}::text[], ${to.map(({ detail }) => JSON.stringify(detail))}::text[]) as done (id, detail)`
}

export async function readActions(sql: Sql, id: string): Promise<ActionRow[]> {
  return await sql<ActionRow[]>`select at, who, action, why, detail from actions where message_id = ${id} order by at`
}
