// Tracing an address: every message from or to it that the database knows, newest first.

import type { Sql } from './database.ts'
import type { RecipientRow } from './recipients.ts'

export interface TraceRow {
  id: string
  acceptedAt: Date
  reversePath: string
  forwardPath: string
  /** Recipients of the message that the row does not name. */
  others: number
  state: RecipientRow['state']
  held: boolean
  attempts: number
  settledAt: Date | null
  text: string | null
}

/** At most `limit`: a row for each message from the address (its first recipient), and for each recipient that is the address. */
export async function traceAddress(sql: Sql, address: string, limit: number): Promise<TraceRow[]> {
  const wanted = address === '<>' ? '' : address.toLowerCase()
  return await sql<TraceRow[]>`
    with found as (
      (select r.message_id as id, r.n from recipients r where lower(r.forward_path collate "C") = ${wanted}
       order by r.message_id collate "C" desc limit ${limit})
      union
      (select m.id, 0 from messages m where lower(m.reverse_path collate "C") = ${wanted} order by m.id collate "C" desc limit ${limit})
    )
    select m.id, m.accepted_at as "acceptedAt", m.reverse_path as "reversePath", r.forward_path as "forwardPath",
           (select count(*) - 1 from recipients o where o.message_id = m.id) as others, r.state, m.held_at is not null as held, r.attempts,
           r.settled_at as "settledAt", r.outcome ->> 'text' as text
    from found f join messages m on m.id = f.id join recipients r on r.message_id = f.id and r.n = f.n
    order by m.id collate "C" desc, r.n limit ${limit}`
}
