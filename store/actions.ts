// Actions: what operators did to a message, who, when and why.

import type { Sql } from './database.ts'

export interface ActionRow {
  at: Date
  who: string
  action: string
  why: string
  detail: { recipients?: string[]; count?: number; nextHop?: string | null; lifetime?: number; to?: string }
}

/** To be called in the transaction that does what it records. */
export async function recordAction(tx: Sql, id: string, { who, action, why }: Pick<ActionRow, 'who' | 'action' | 'why'>, detail: object): Promise<void> {
  await tx`
    insert into actions (message_id, at, who, action, why, detail) values (${id}, clock_timestamp(), ${who}, ${action}, ${why}, ${tx.json(detail as never)})`
}

export async function readActions(sql: Sql, id: string): Promise<ActionRow[]> {
  return await sql<ActionRow[]>`select at, who, action, why, detail from actions where message_id = ${id} order by at`
}
