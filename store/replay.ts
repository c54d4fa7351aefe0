// Replay: recipients that failed for good are queued again under the same id. One that was delivered is never touched.

import { comparable, domainOf } from '../mail/address.ts'
import { orcptOf } from '../mail/xtext.ts'
import { recordActions } from './actions.ts'
import type { Sql } from './database.ts'
import { escaped, like } from './filter.ts'
import { lockMessage, type Retention, settleProgress } from './recipients.ts'

export interface ReplayFilter {
  /** Canonical domain of the recipients; undefined: every one. */
  domain?: string | undefined
  /** An address, or a pattern in which `*` stands for anything. */
  recipient?: string | undefined
  sender?: string | undefined
  /** Text that the last outcome holds. */
  reply?: string | undefined
  /** Only what failed at this time or later. */
  since?: Date | undefined
  /** Only dead letters: nobody could be told of them. */
  dead?: boolean | undefined
  /** Also recipients that an operator bounced or dropped. */
  given?: boolean | undefined
}

export interface Failed {
  id: string
  reversePath: string
  /** Who submitted it: an authenticated user, `token:` and a token's name, or null. */
  user: string | null
  recipients: string[]
  failedAt: Date
  /** The body is gone: it cannot be replayed any more. */
  released: boolean
}

function failed(sql: Sql, { domain, recipient, sender, reply, since, dead, given }: ReplayFilter) {
  return sql`
    r.state in ('bounced', 'expired') and r.redirected_to is null
    ${given ? sql`` : sql`and not r.dropped and not (r.state = 'bounced' and coalesce(r.outcome ->> 'phase', '') = 'queue')`}
    ${domain === undefined ? sql`` : sql`and r.domain = ${domain}`}
    ${recipient === undefined ? sql`` : sql`and ${like(sql, sql`lower(r.forward_path collate "C")`, recipient)}`}
    ${sender === undefined ? sql`` : sql`and ${like(sql, sql`lower(m.reverse_path collate "C")`, sender === '<>' ? '' : sender)}`}
    ${reply === undefined ? sql`` : sql`and r.outcome ->> 'text' ilike ${`%${escaped(reply)}%`}`}
    ${since ? sql`and r.settled_at >= ${since}` : sql``}
    ${dead ? sql`and r.dead_letter` : sql``}`
}

export interface FailedPage {
  /** This message alone. */
  id?: string | undefined
  /** Go on after this id. */
  after?: string | undefined
  /** At most so many messages. */
  limit?: number | undefined
  /** Also those whose body is gone; true unless it is said otherwise. */
  released?: boolean | undefined
}

/** Messages with failed recipients that match, oldest first. */
export async function findFailed(sql: Sql, filter: ReplayFilter, { id, after, limit, released = true }: FailedPage = {}): Promise<Failed[]> {
  return await sql<Failed[]>`
    select m.id, m.reverse_path as "reversePath", m.origin ->> 'user' as "user", array_agg(r.forward_path order by r.n) as recipients,
           max(r.settled_at) as "failedAt", m.body_released_at is not null as released
    from recipients r join messages m on m.id = r.message_id
    where ${failed(sql, { given: id !== undefined, ...filter })} ${id === undefined ? sql`` : sql`and m.id = ${id} and r.message_id = ${id}`}
      ${after === undefined ? sql`` : sql`and m.id > ${after}`} ${released ? sql`` : sql`and m.body_released_at is null`}
    group by m.id order by m.id limit ${limit ?? null}::bigint`
}

export interface ReplayRequest extends ReplayFilter {
  id: string
  who: string
  why: string
  /** Milliseconds until it is tried, for a replay at a rate; 0 by default. */
  after?: number | undefined
  /** Next hop by the operator's word; null: as the settings and DNS say; undefined: as before. */
  nextHop?: string | null | undefined
  /** Other recipients, aliases followed, to stand for those that failed. */
  to?: string[] | undefined
  /** Milliseconds of queue lifetime that the message is given anew. */
  lifetime: number
  retention: Retention
}

/** Queues the failed recipients again; returns their addresses, none when there is nothing to replay or the body is gone. */
export async function replayMessage(sql: Sql, request: ReplayRequest): Promise<string[]> {
  return await sql.begin(async (transaction) => {
    const tx = transaction as unknown as Sql
    const { id, after = 0, to, nextHop } = request
    const at = tx`now() + ${after}::float8 * interval '1 millisecond'`
    if (!(await lockMessage(tx, id))) return []
    const rows = await tx<FailedRecipient[]>`
      select r.n, r.forward_path as "forwardPath", r.notify, r.orcpt from recipients r join messages m on m.id = r.message_id
      where m.id = ${id} and m.body_released_at is null and ${failed(tx, request)} order by r.n`
    if (rows.length === 0) return []
    const numbers = to === undefined ? rows.map((row) => row.n) : await redirect(tx, id, to, rows)
    await tx`
      update recipients set state = 'queued', attempts = 0, next_attempt_at = ${at}, leased_until = null, settled_at = null,
        outcome = outcome - 'givenUp', ruled = default, gives_up_at = null, waits = null, dead_letter = false, dropped = false ${nextHop === undefined ? tx`` : tx`, route = ${nextHop}`}
      where message_id = ${id} and n = any(${numbers}::int[]) and state in ('bounced', 'expired')`
    const recipients = rows.map((row) => row.forwardPath)
    await tx`
      update messages set expires_at = ${at} + ${request.lifetime}::float8 * interval '1 millisecond',
        delay_reported_at = coalesce(delay_reported_at, now()) where id = ${id}`
    const detail = { recipients: recipients.slice(0, 100), nextHop, to: to?.slice(0, 100).join(', ') }
    await recordActions(tx, { who: request.who, action: 'replay', why: request.why }, [{ id, detail }])
    await settleProgress(tx, id, request.retention)
    // Now, not two minutes later: the caller starts the workflow, and the outbox if the caller cannot.
    await tx`update messages set drive_at = least(drive_at, ${at} + interval '3 seconds') where id = ${id} and drive_at is not null`
    return recipients
  })
}

interface FailedRecipient {
  n: number
  forwardPath: string
  notify: string[]
  orcpt: string | null
}

/**
 * Lets other recipients stand for those that failed: one of the message when it has that address already, so that nobody
 * gets it twice; their reports name the address first meant (RFC 3461 section 5.2.1). Returns their numbers.
 */
async function redirect(tx: Sql, id: string, to: string[], rows: FailedRecipient[]): Promise<number[]> {
  const made: number[] = []
  for (const address of to) made.push((await findRecipient(tx, id, address)) ?? (await addRecipient(tx, id, address, rows[0]!)))
  const others = rows.map((row) => row.n).filter((n) => !made.includes(n))
  await tx`update recipients set redirected_to = ${made[0]!} where message_id = ${id} and n = any(${others}::int[])`
  await tx`update recipients set redirected_to = null where message_id = ${id} and n = any(${made}::int[])`
  return made
}

/** Who got it comes first; the row that an expanded alias is reported by is nobody's copy. */
async function findRecipient(tx: Sql, id: string, address: string): Promise<number | undefined> {
  const known = await tx<{ n: number; forwardPath: string }[]>`
    select n, forward_path as "forwardPath" from recipients
    where message_id = ${id} and domain = ${domainOf(address)} and not (state in ('notifying', 'delivered') and coalesce(outcome ->> 'phase', '') = 'queue')
    order by state in ('notifying', 'delivered') desc, n`
  return known.find(({ forwardPath }) => comparable(forwardPath) === comparable(address))?.n
}

async function addRecipient(tx: Sql, id: string, address: string, instead: FailedRecipient): Promise<number> {
  const orcpt = instead.orcpt ?? orcptOf(instead.forwardPath)
  const [row] = await tx<{ n: number }[]>`
    insert into recipients (message_id, n, forward_path, domain, notify, orcpt, state, settled_at)
    select ${id}, max(n) + 1, ${address}, ${domainOf(address)}, ${instead.notify}, ${orcpt}, 'bounced', now() from recipients where message_id = ${id}
    returning n`
  return row!.n
}
