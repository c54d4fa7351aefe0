// The shape of the queue: what waits, by domain and age, as Postfix' qshape shows it. Read from the ids alone, which begin
// with the time of acceptance, so that a million messages are counted in less than a second. What its sender has put off, which
// is little, is as old as that time is past.

import { makeQueueId } from '../mail/queue-id.ts'
import { isOpen } from './conditions.ts'
import type { Sql } from './database.ts'

/** Upper edges of the ages, in minutes; the last column holds what is older. */
export const shapeMinutes = [5, 10, 20, 40, 80, 160, 320, 640, 1280]

export interface ShapeRow {
  domain: string
  total: number
  /** By age, one more than there are edges. */
  ages: number[]
}

/** The largest `limit` domains, and all of them in sum first, as `TOTAL`. `sender`: domains of the reverse-paths, counting messages. */
export async function readShape(sql: Sql, by: 'recipient' | 'sender', limit: number, now = Date.now()): Promise<ShapeRow[]> {
  // Ascending, as width_bucket wants them: the oldest edge first.
  const moments = shapeMinutes.map((minutes) => Math.max(0, now - minutes * 60_000)).reverse()
  const edges = moments.map((at) => makeQueueId(at, new Uint8Array(8)))
  const times = moments.map((at) => new Date(at).toISOString())
  const waiting = by === 'recipient'
    ? sql`select domain collate "C" as domain, message_id collate "C" as id from recipients where ${isOpen(sql)}`
    : sql`select lower(split_part(reverse_path collate "C", '@', -1)) as domain, id collate "C" as id from messages where state = 'queued'`
  const rows = await sql<{ domain: string; age: number; count: number }[]>`
    select domain, ${shapeMinutes.length} - coalesce(width_bucket(p.since, ${times}::timestamptz[]), width_bucket(w.id, ${edges}::text[])) as age, count(*)
    from (${waiting}) w left join (
      select id, greatest(accepted_at, send_at) as since from messages where state = 'queued' and send_at is not null
    ) p on p.id collate "C" = w.id group by 1, 2`
  const shape = new Map<string, ShapeRow>()
  const total: ShapeRow = { domain: 'TOTAL', total: 0, ages: Array.from({ length: edges.length + 1 }, () => 0) }
  for (const { domain, age, count } of rows) {
    const row = shape.get(domain) ?? { domain, total: 0, ages: total.ages.map(() => 0) }
    shape.set(domain, row)
    for (const each of [row, total]) {
      each.total += count
      each.ages[age]! += count
    }
  }
  return [total, ...[...shape.values()].sort((a, b) => b.total - a.total || a.domain.localeCompare(b.domain)).slice(0, limit)]
}
