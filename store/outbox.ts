// The outbox: messages that something should be done about now, whose workflow may not have started, or may be lost.

import type { Sql } from './database.ts'

/**
 * Messages that are due to be driven, at most `limit`. Each is put off, so that several processes take turns: shortly while
 * its workflow has never run, longer when it has, since then it most likely still does.
 */
export async function claimDue(sql: Sql, limit: number): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    update messages set drive_at = now() + case when started_at is null then interval '15 seconds' else interval '5 minutes' end
    where id in (select id from messages where drive_at <= now() order by drive_at limit ${limit} for update skip locked)
    returning id`
  return rows.map((row) => row.id)
}

/** Messages whose workflow has never run, counted up to `limit`. */
export async function countOutbox(sql: Sql, limit: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*) from (select from messages where started_at is null limit ${limit}) m`
  return row!.count
}
