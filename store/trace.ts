// Tracing an address: every message from or to it that the database knows, newest first.

import { originalOf } from '../mail/expand.ts'
import { makeQueueId } from '../mail/queue-id.ts'
import { orcptOf } from '../mail/xtext.ts'
import type { Sql } from './database.ts'
import { spellings } from './filter.ts'
import type { RecipientRow } from './recipients.ts'

export interface TraceRow {
  id: string
  acceptedAt: Date
  reversePath: string
  forwardPath: string
  /** The address that the sender knows, where it is another: an alias. */
  original: string | null
  /** Recipients of the message that the row does not name. */
  others: number
  state: RecipientRow['state']
  held: boolean
  attempts: number
  settledAt: Date | null
  text: string | null
}

export interface TracePage {
  limit: number
  /** Accepted at this time or later. */
  since?: Date | undefined
  /** Accepted before. */
  until?: Date | undefined
}

/** Milliseconds by which the time in a queue id, which the first octet of a message has, may be another than that of its acceptance. */
const slack = 86_400_000

/**
 * At most `limit`: a row for each message from the address (its first recipient), and for each recipient that is the address, or takes
 * its place as an alias' target.
 */
export async function traceAddress(sql: Sql, address: string, { limit, since, until }: TracePage): Promise<TraceRow[]> {
  const wanted = address === '<>' ? [''] : spellings(address)
  const atId = (time: number) => makeQueueId(Math.max(0, time), new Uint8Array(8))
  // By the ids, which begin with the time, so that the indexes find them; then by the acceptance.
  const accepted = (id: ReturnType<Sql>) => sql`(select accepted_at from messages a where a.id = ${id})`
  const within = (id: ReturnType<Sql>) => sql`
    ${since ? sql`and ${id} collate "C" >= ${atId(since.getTime() - slack)} and ${accepted(id)} >= ${since}` : sql``}
    ${until ? sql`and ${id} collate "C" < ${atId(until.getTime() + slack)} and ${accepted(id)} < ${until}` : sql``}
    order by ${id} collate "C" desc limit ${limit}`
  const recipients = (which: ReturnType<Sql>) => sql`(select r.message_id as id, r.n from recipients r where ${which} ${within(sql`r.message_id`)})`
  // Each by itself, since one index serves one of them in the order wanted.
  const parts = wanted.flatMap((path) => [
    recipients(sql`lower(r.forward_path collate "C") = ${path}`),
    // As the index has it: what is the recipient's own address is found above.
    recipients(sql`lower(r.orcpt collate "C") = ${(orcptOf(path) ?? '').toLowerCase()} and lower(r.orcpt collate "C") <> 'rfc822;' || lower(r.forward_path collate "C")`),
    sql`(select m.id, 0 from messages m where lower(m.reverse_path collate "C") = ${path} ${within(sql`m.id`)})`,
  ])
  const rows = await sql<(Omit<TraceRow, 'original'> & { orcpt: string | null })[]>`
    with found as (${parts.reduce((all, part) => sql`${all} union ${part}`)})
    select m.id, m.accepted_at as "acceptedAt", m.reverse_path as "reversePath", r.forward_path as "forwardPath", r.orcpt,
           (select count(*) - 1 from recipients o where o.message_id = m.id) as others, r.state, m.held_at is not null as held, r.attempts,
           r.settled_at as "settledAt", r.outcome ->> 'text' as text
    from found f join messages m on m.id = f.id join recipients r on r.message_id = f.id and r.n = f.n
    order by m.id collate "C" desc, r.n limit ${limit}`
  return rows.map(({ orcpt, ...row }) => ({ ...row, original: originalOf({ forwardPath: row.forwardPath, orcpt }) }))
}
