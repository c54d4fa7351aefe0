// Idempotency keys: a submission that is repeated under its key leads to the message it led to first.

import type { Sql } from './database.ts'

export interface KeyedSubmission {
  token: string
  key: string
  /** SHA-256 of what is asked. */
  request: Uint8Array
}

export type Submitted = { id: string; repeated: boolean } | 'other request'

/**
 * Runs `submit` in the transaction that keeps the key, unless the key has led to a message before. Two that come together
 * take turns. When `submit` throws, the key is free again.
 */
export async function submitOnce(sql: Sql, { token, key, request }: KeyedSubmission, submit: (tx: Sql) => Promise<string>): Promise<Submitted> {
  return await sql.begin(async (transaction) => {
    const tx = transaction as unknown as Sql
    const fresh = await tx`
      insert into submissions (token, key, request) values (${token}, ${key}, ${request as Buffer}) on conflict do nothing returning key`
    if (fresh.length === 0) {
      const [known] = await tx<{ id: string; same: boolean }[]>`
        select message_id as id, request = ${request as Buffer} as same from submissions where token = ${token} and key = ${key}`
      return known!.same ? { id: known!.id, repeated: true } : 'other request'
    }
    const id = await submit(tx)
    await tx`update submissions set message_id = ${id} where token = ${token} and key = ${key}`
    return { id, repeated: false }
  })
}

/** Forgets keys after two days; at most `limit`. */
export async function discardKeys(sql: Sql, limit: number): Promise<number> {
  const rows = await sql`
    delete from submissions where (token, key) in (select token, key from submissions where at < now() - interval '2 days' limit ${limit}) returning key`
  return rows.length
}
