// Choosing among what is queued: the conditions that listings and actions share.

import { domainToUnicode } from 'node:url'
import { canonicalDomain, splitAddress } from '../mail/address.ts'
import { byRecipient, type ControlAction } from '../mail/control.ts'
import { isLeased, isOpen } from './conditions.ts'
import type { Sql } from './database.ts'

export type QueueStatus = 'new' | 'deferred' | 'active' | 'held'
export const queueStatuses: QueueStatus[] = ['new', 'deferred', 'active', 'held']

export interface QueueFilter {
  ids?: string[] | undefined
  /** An address, or a pattern in which `*` stands for anything; `<>` is the null reverse-path. */
  sender?: string | undefined
  recipient?: string | undefined
  /** Who submitted it: an authenticated user, or `token:` and a token's name; a pattern, too. */
  user?: string | undefined
  /** The address of the client that handed it to us, as it is written (RFC 5952); a pattern, too. */
  client?: string | undefined
  /** Canonical domain of the recipient. */
  domain?: string | undefined
  /** Recipients whose next hop this is by an operator's word, or whose domain is one of `domains` and has no such word. */
  nextHop?: { name: string; domains: string[] } | undefined
  /** Accepted before. */
  before?: Date | undefined
  status?: QueueStatus | undefined
  held?: boolean | undefined
  /** false: without those whose sender has put them off to a time that has not come. */
  putOff?: false | undefined
  /** Text that the last outcome holds, such as `451`, `4.7.1` or `greylisted`; case does not count. */
  reply?: string | undefined
  /** true: a delivery is still owed; false: the recipient's fate is decided, and its report, or its end in silence, is to come. */
  owed?: boolean | undefined
}

/** Whether the filter chooses among the recipients of a message, rather than whole messages. */
export function choosesRecipients({ recipient, domain, nextHop, reply, status }: QueueFilter): boolean {
  return [recipient, domain, nextHop, reply].some((value) => value !== undefined) || status === 'new' || status === 'deferred'
}

/** Whether the filter says something of the message as a whole, beyond that it is queued. */
export function choosesMessages({ ids, sender, user, client, before, held, putOff, status }: QueueFilter): boolean {
  return [ids, sender, user, client, before, held, putOff].some((value) => value !== undefined) || status === 'held' || status === 'deferred'
}

export function isEmpty(filter: QueueFilter): boolean {
  return Object.values(filter).every((value) => value === undefined)
}

/** The condition on a message `m`, for the `where` of a statement: it is queued, and it or one of its open recipients matches. */
export function matching(sql: Sql, filter: QueueFilter) {
  const looks = choosesRecipients(filter) || filter.status === 'active' || filter.owed !== undefined
  const some = looks ? sql`and exists (select from recipients r where r.message_id = m.id and ${matchingRecipient(sql, filter)})` : sql``
  return sql`${matchingMessage(sql, filter)} ${some}`
}

/** What the filter says of the message `m` as a whole. */
export function matchingMessage(sql: Sql, { ids, sender, user, client, before, status, held, putOff }: QueueFilter) {
  return sql`
    m.state = 'queued'
    ${ids ? sql`and m.id = any(${ids})` : sql``}
    ${sender === undefined ? sql`` : sql`and ${like(sql, sql`lower(m.reverse_path collate "C")`, sender === '<>' ? '' : sender)}`}
    ${user === undefined ? sql`` : sql`and ${like(sql, sql`lower((m.origin ->> 'user') collate "C")`, user)}`}
    ${client === undefined ? sql`` : sql`and ${like(sql, sql`((m.origin ->> 'clientAddress') collate "C")`, client)}`}
    ${before ? sql`and m.accepted_at < ${before}` : sql``}
    ${status === 'held' || held === true ? sql`and m.held_at is not null` : sql``}
    ${status === 'deferred' || held === false ? sql`and m.held_at is null` : sql``}
    ${putOff === false ? sql`and (m.send_at is null or m.send_at <= now())` : sql``}`
}

/** What it says of a recipient `r`; that alone, when nothing: it is not settled. */
export function matchingRecipient(sql: Sql, { recipient, domain, nextHop, status, reply, owed }: QueueFilter) {
  return sql`
    ${isOpen(sql)}
    ${owed === undefined ? sql`` : owed ? sql`and r.state = 'queued'` : sql`and r.state <> 'queued'`}
    ${recipient === undefined ? sql`` : sql`and ${like(sql, sql`lower(r.forward_path collate "C")`, recipient)}`}
    ${domain === undefined ? sql`` : sql`and r.domain collate "C" = ${domain}`}
    ${nextHop ? sql`and (r.route = ${nextHop.name} or (r.route is null and r.domain collate "C" = any(${nextHop.domains})))` : sql``}
    ${status === 'active' ? sql`and ${isLeased(sql)}` : sql``}
    ${status === 'new' ? sql`and r.outcome is null` : status === 'deferred' ? sql`and r.outcome is not null` : sql``}
    ${reply === undefined ? sql`` : sql`and r.state = 'queued' and r.outcome is not null and r.outcome ->> 'text' ilike ${`%${escaped(reply)}%`}`}`
}

export function like(sql: Sql, column: ReturnType<Sql>, pattern: string) {
  if (pattern.includes('*')) return sql`${column} like ${escaped(pattern.toLowerCase()).replaceAll('*', '%')}`
  const [only, ...others] = spellings(pattern)
  return others.length === 0 ? sql`${column} = ${only!}` : sql`${column} = any(${[only!, ...others]})`
}

/** An address in lower case, in each of the ways in which its domain may have been written: with U-labels, with A-labels (RFC 5890). */
export function spellings(address: string): string[] {
  const { localPart, domain } = splitAddress(address.toLowerCase())
  if (domain === '') return [localPart]
  const canonical = canonicalDomain(domain)
  const domains = new Set([domain, canonical, domainToUnicode(canonical)].filter((each) => each !== ''))
  return [...domains].map((each) => `${localPart}@${each}`)
}

export function escaped(text: string): string {
  return text.replace(/[\\%_]/g, '\\$&')
}

/**
 * The filter without what the action would be refused for: so that an action on all that match, broken off and asked for again, goes on
 * where it was. Messages named by id are left in: there the refusal is the answer.
 */
export function concerning(filter: QueueFilter, action: ControlAction): QueueFilter {
  if (filter.ids || isEmpty(filter)) return filter
  const held = action === 'release' ? true : action === 'hold' || action === 'retry' ? false : undefined
  return { ...filter, held, owed: byRecipient(action) ? true : undefined, putOff: action === 'retry' ? false : undefined }
}

export interface Chosen {
  id: string
  reversePath: string
  /** Positions of its open recipients: those that match, or all, where whole messages are meant. */
  recipients: number[]
  /** The first of them. */
  forwardPaths: string[]
}

/** Forward-paths that are told of a message. */
const pathsTold = 5

/** Messages that match, by age of their ids, after the id `after`; at most `limit`. `whole`: what matches in part is meant as a whole. */
export async function chooseMessages(sql: Sql, filter: QueueFilter, after: string, limit: number, whole = false): Promise<Chosen[]> {
  return await sql<Chosen[]>`
    select m.id, m.reverse_path as "reversePath", r.recipients, r."forwardPaths"
    from (select m.id, m.reverse_path from messages m where ${matching(sql, filter)} and m.id > ${after} order by m.id limit ${limit}) m,
    lateral (
      select coalesce(array_agg(r.n order by r.n), '{}') as recipients, (coalesce(array_agg(r.forward_path order by r.n), '{}'))[:${pathsTold}::int] as "forwardPaths"
      from recipients r where r.message_id = m.id and ${matchingRecipient(sql, whole ? {} : filter)}
    ) r
    order by m.id`
}

/** How many messages match, counted up to `most`. */
export async function countMatching(sql: Sql, filter: QueueFilter, most?: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*) from (select from messages m where ${matching(sql, filter)} ${most === undefined ? sql`` : sql`limit ${most}`}) m`
  return row!.count
}

/** The domains for which something waits, by skipping from one to the next in the index. */
export async function openDomains(sql: Sql): Promise<string[]> {
  const rows = await sql<{ domain: string }[]>`
    with recursive step (domain) as (
      (select domain collate "C" from recipients where ${isOpen(sql)} order by domain collate "C" limit 1)
      union all
      select (select r.domain collate "C" from recipients r where ${isOpen(sql)} and r.domain collate "C" > step.domain
              order by r.domain collate "C" limit 1)
      from step where step.domain is not null
    )
    select domain from step where domain is not null`
  return rows.map((row) => row.domain)
}
