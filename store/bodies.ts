// Bodies: the octets of messages, in chunks, exactly as received.

import type { Sql } from './database.ts'
import type { WholeMessage } from './messages.ts'

/** Octets in a chunk. A chunk is held in memory a few times over while it is sent, so this bounds memory per session. */
export const chunkSize = 256 * 1024

/**
 * Stores one chunk of a body whose message is not accepted yet, and marks the upload as alive. The first begins the upload; throws
 * when a later one finds it swept away.
 */
export async function appendChunk(sql: Sql, id: string, seq: number, bytes: Uint8Array): Promise<void> {
  const upload = seq === 0 ? sql`insert into uploads (id) values (${id}) returning id` : sql`update uploads set touched_at = now() where id = ${id} returning id`
  const rows = await sql`
    with upload as (${upload})
    insert into body_chunks (message_id, seq, bytes) select id, ${seq}, ${bytes as Buffer} from upload returning seq`
  if (rows.length === 0) throw new Error(`the upload of ${id} is no longer there`)
}

/** Forgets a body whose message was not accepted. */
export async function discardUpload(sql: Sql, id: string): Promise<void> {
  await sql`
    with upload as (delete from uploads where id = ${id} returning id)
    delete from body_chunks where message_id in (select id from upload)`
}

/** Forgets the bodies that dead processes left half-received more than an hour ago. Returns how many. */
export async function discardStaleUploads(sql: Sql): Promise<number> {
  const rows = await sql`
    with stale as (delete from uploads where touched_at < now() - interval '1 hour' returning id),
         chunks as (delete from body_chunks where message_id in (select id from stale))
    select id from stale`
  return rows.length
}

/** The octets of a body in order, a chunk at a time. Throws when a chunk is missing: half a message is never sent. */
export async function* readBody(sql: Sql, id: string, size: number): AsyncGenerator<Uint8Array> {
  let read = 0
  for (let seq = 0; read < size; seq++) {
    const [row] = await sql<{ bytes: Buffer }[]>`select bytes from body_chunks where message_id = ${id} and seq = ${seq}`
    if (!row) throw new Error(`body of ${id} ends after ${read} of ${size} octets`)
    read += row.bytes.length
    yield row.bytes
  }
}

/** What goes to a next hop: the fields that we prepend, once the message is stamped, then the body exactly as received. */
export async function* relayedContent(sql: Sql, message: Pick<WholeMessage, 'id' | 'size' | 'trace' | 'body'>): AsyncGenerator<Uint8Array> {
  if (message.trace) yield message.trace
  if (message.body) yield message.body
  else yield* readBody(sql, message.id, message.size)
}

/** Copies a body inside Postgres, its chunks numbered from `from`, as part of another; returns how many there are. */
export async function copyBody(sql: Sql, id: string, to: string, from: number): Promise<number> {
  const rows = await sql`
    insert into body_chunks (message_id, seq, bytes)
    select ${to}, seq + ${from}, bytes from body_chunks where message_id = ${id} returning seq`
  return rows.length
}

/** Deletes the bodies of messages whose retention is over, at most `limit` messages; returns how many. */
export async function releaseBodies(sql: Sql, limit: number): Promise<number> {
  const rows = await sql`
    with due as (
      select id from messages where body_release_at <= now() and body_released_at is null
      order by body_release_at limit ${limit} for update skip locked
    ),
    chunks as (delete from body_chunks where message_id in (select id from due))
    update messages set body_released_at = now() where id in (select id from due) returning id`
  return rows.length
}
