// What operators do to queued messages: each action one transaction for a page of them, that changes the rows and records who, when and why.

import { byRecipient, type ControlAction, type ControlRequest, type ControlResult, faultOf } from '../mail/control.ts'
import { grouped } from '../mail/grouped.ts'
import type { Progress } from '../mail/progress.ts'
import { UnknownMessage } from '../mail/unknown-message.ts'
import { brokenOff, byOperator } from '../mail/verdict.ts'
import { recordActions } from './actions.ts'
import { isFree, isLeased, isOpen } from './conditions.ts'
import { isOfData, type Sql } from './database.ts'
import { readProgress, type Retention, settleAll } from './recipients.ts'

const pathsTold = 100

/** A message, and positions in its envelope. Either all that are asked for together name recipients, or none does. */
export interface Asked {
  id: string
  /** null: every recipient. */
  recipients: number[] | null
}

/** What was done, and how far the message has come with it; or why nothing was. */
export type Controlled = { result: ControlResult; progress: Progress } | { refused: string }

/** For all of them. */
export type ControlOrder = Omit<ControlRequest, 'recipients'>

/**
 * Does what is asked to each that there is, or tells why not. `update` names the asking, which may be repeated: the second run finds what the first has done.
 * A row that somebody else keeps for longer than `wait` milliseconds fails the whole (lock_not_available).
 */
export async function controlMessages(sql: Sql, asked: Asked[], order: ControlOrder, update: string, retention: Retention, wait = 5000): Promise<Map<string, Controlled>> {
  return await sql.begin(async (transaction) => {
    const tx = transaction as unknown as Sql
    const answers = new Map<string, Controlled>()
    const known = await lockAndRead(tx, asked.map(({ id }) => id), update, wait)
    const open: Asked[] = []
    for (const each of asked) {
      const message = known.get(each.id)
      if (!message) continue
      if (message.before) answers.set(each.id, await asBefore(tx, each.id, message.before))
      else {
        const fault = faultOf(message, order.action)
        if (fault) answers.set(each.id, { refused: fault })
        else open.push(each)
      }
    }
    if (open.length === 0) return answers

    const busy = breaksOff.has(order.action) ? await breakOff(tx, open) : new Map<string, string[]>()
    const changed = byMessage(await actions[order.action](tx, { ids: open.map(({ id }) => id), chosen: chosen(tx, open), order }))
    const done = open.flatMap(({ id }) => (changed.has(id) ? [{ id, result: resultOf(changed.get(id)!, busy.get(id) ?? []) }] : []))
    await recordActions(tx, order, done.map(({ id, result: { changed, ...more } }) =>
      ({ id, detail: { update, ...more, ...(byRecipient(order.action) ? { recipients: changed } : {}), nextHop: order.nextHop, lifetime: order.lifetime } })))
    const progress = await settleAll(tx, done.map(({ id }) => id), retention)
    // Whoever asks wakes the workflows at once, and the outbox those that were not reached.
    await tx`update messages set drive_at = least(drive_at, now() + interval '3 seconds') where id = any(${done.map(({ id }) => id)}) and drive_at is not null`
    for (const { id, result } of done) answers.set(id, { result, progress: progress.get(id)! })
    for (const { id, recipients } of open) if (!changed.has(id)) answers.set(id, { refused: whyNone(busy.get(id) ?? [], recipients) })
    return answers
  })
}

/** The same for one message. Throws UnknownMessage when there is none. */
export async function controlMessage(sql: Sql, id: string, { recipients = null, ...order }: ControlRequest, update: string, retention: Retention): Promise<Controlled> {
  const answer = (await controlMessages(sql, [{ id, recipients }], order, update, retention)).get(id)
  if (!answer) throw new UnknownMessage()
  return answer
}

/** What an error says against one message whose data Postgres does not take: to ask again would be refused again. Throws whatever else it is. */
export function refusedData(error: unknown): { refused: string } {
  if (isOfData(error)) return { refused: `it cannot be stored: ${(error as Error).message}` }
  throw error
}

function resultOf(changed: string[], busy: string[]): ControlResult {
  return { changed: changed.slice(0, pathsTold), count: changed.length, busy }
}

function whyNone(busy: string[], recipients: number[] | null): string {
  if (busy.length > 0) return `its reply to the final dot is awaited for ${busy.join(', ')}; look again later`
  return `none of its recipients${recipients ? ' named' : ''} waits: it is settled, an attempt is under way, or a report is being sent`
}

interface Known {
  id: string
  state: string
  held: boolean
  /** The record of this very asking, where it was done before. */
  before: { recipients?: string[]; count: number; busy: string[] } | null
}

/** Takes the messages, in the order of their ids as all do that take several, and tells how they stand. */
async function lockAndRead(tx: Sql, ids: string[], update: string, wait: number): Promise<Map<string, Known>> {
  // Sent together, yet statements of their own: the last sees what was committed while the one before waited.
  const [, , known] = await Promise.all([
    tx`select set_config('lock_timeout', ${`${wait}ms`}, true)`.execute(),
    tx`select from messages where id = any(${ids}) and state = 'queued' order by id for no key update`.execute(),
    tx<Known[]>`
      select id, state, held_at is not null as held,
        (select detail from actions where message_id = m.id and detail ->> 'update' = ${update}) as before
      from messages m where id = any(${ids})`.execute(),
  ])
  return new Map(known.map((message) => [message.id, message]))
}

async function asBefore(tx: Sql, id: string, { recipients, count, busy }: NonNullable<Known['before']>): Promise<Controlled> {
  const changed = recipients ?? (await waiting(tx, [id])).map(({ path }) => path).slice(0, pathsTold)
  return { result: { changed, count, busy }, progress: await readProgress(tx, id) }
}

/** Actions that an attempt under way must not outrun. */
const breaksOff = new Set<ControlAction>(['hold', 'reroute', 'expire', 'bounce', 'drop'])

/**
 * Takes the recipients from attempts that have not sent their final dot: those may not send it any more (markDot), whatever dots they
 * have sent for others. An attempt whose lease has lapsed may live all the same, and is taken none too early. Returns, by message, the
 * forward-paths whose dot was sent: only the reply can tell what becomes of them.
 */
async function breakOff(tx: Sql, asked: Asked[]): Promise<Map<string, string[]>> {
  const those = chosen(tx, asked)
  // Taken before it is judged by its attempt: a dot that is being marked is waited for, and then seen. Nobody new can claim one: the messages are ours.
  const taken = await tx`
    select from recipients r where r.state = 'queued' and r.leased_until is not null and ${those} order by r.message_id, r.n for no key update`
  if (taken.length === 0) return new Map()
  await tx`
    update recipients r set attempt = null, leased_until = null from attempts a
    where r.state = 'queued' and ${those} and a.message_id = r.message_id and a.number = r.attempt
      and (a.dot_at is null or r.n <> all(a.dots) or r.leased_until <= now())`
  const busy = byMessage(await tx<Reached[]>`
    select r.message_id as id, r.forward_path as path from recipients r where r.state = 'queued' and ${isLeased(tx)} and ${those} order by r.n`)
  return new Map([...busy].map(([id, paths]) => [id, paths.slice(0, pathsTold)]))
}

/** The condition on a recipient `r`. */
function chosen(tx: Sql, asked: Asked[]) {
  if (asked.every(({ recipients }) => recipients === null)) return tx`r.message_id = any(${asked.map(({ id }) => id)})`
  const named = asked.flatMap(({ id, recipients }) => recipients!.map((n) => ({ id, n })))
  return tx`(r.message_id, r.n) in (select * from unnest(${named.map(({ id }) => id)}::text[], ${named.map(({ n }) => n)}::int[]))`
}

interface Step {
  ids: string[]
  chosen: ReturnType<typeof chosen>
  order: ControlOrder
}

/** A recipient that was reached: of which message, and its forward-path. */
interface Reached {
  id: string
  path: string
}

/** Each returns whom it reached. Where an operator gives mail more time or another way, what the retry rules counted begins anew. */
const actions: Record<ControlAction, (tx: Sql, step: Step) => Promise<Reached[]>> = {
  async hold(tx, { ids }) {
    await tx`update messages set held_at = now() where id = any(${ids})`
    return await waiting(tx, ids)
  },
  /** The time on hold does not count as time in the queue. */
  async release(tx, { ids }) {
    await tx`update messages set expires_at = expires_at + (now() - held_at), held_at = null where id = any(${ids})`
    return await tx`
      update recipients r set next_attempt_at = greatest(now(), m.send_at), ruled = default, gives_up_at = null from messages m
      where m.id = any(${ids}) and r.message_id = m.id and r.state = 'queued' returning r.message_id as id, r.forward_path as path`
  },
  async retry(tx, { chosen }) {
    return await tx`update recipients r set next_attempt_at = now() where ${free(tx, chosen)}`
  },
  async reroute(tx, { chosen, order }) {
    return await tx`
      update recipients r set route = ${order.nextHop ?? null}, ruled = default, gives_up_at = null,
        next_attempt_at = greatest(now(), (select send_at from messages where id = r.message_id))
      where ${free(tx, chosen)}`
  },
  /** As when a retry rule gives up, and what its last attempt came to is reported. */
  async expire(tx, { chosen }) {
    const untried = brokenOff('no attempt could be made')
    return await tx`
      update recipients r set state = 'bouncing', leased_until = null,
        outcome = coalesce(r.outcome, ${tx.json(untried as never)}::jsonb || jsonb_build_object('text', coalesce(r.waits, ${untried.text}))) || '{"givenUp": true}'
      where ${free(tx, chosen)}`
  },
  async bounce(tx, { chosen, order }) {
    return await tx`
      update recipients r set state = 'bouncing', leased_until = null, outcome = ${tx.json(byOperator('returned', order.why) as never)}
      where ${free(tx, chosen)}`
  },
  /** As a bounce, and settled as one, but nobody is told. */
  async drop(tx, { chosen, order }) {
    return await tx`
      update recipients r set state = 'bouncing', leased_until = null, dropped = true, outcome = ${tx.json(byOperator('dropped', order.why) as never)}
      where ${free(tx, chosen)}`
  },
  /** The last attempt is made when the lifetime ends, so it may come earlier now. */
  async 'set-lifetime'(tx, { ids, order }) {
    await tx`update messages set expires_at = greatest(accepted_at, send_at) + ${order.lifetime!}::float8 * interval '1 millisecond' where id = any(${ids})`
    await tx`
      update recipients r set ruled = default, gives_up_at = null, next_attempt_at = least(r.next_attempt_at, m.expires_at) from messages m
      where m.id = any(${ids}) and r.message_id = m.id and r.state = 'queued'`
    return await waiting(tx, ids)
  },
}

/** The end of an update of recipients `r`: of those chosen, who waits and is held by no attempt. */
function free(tx: Sql, chosen: Step['chosen']) {
  return tx`r.state = 'queued' and ${isFree(tx)} and ${chosen} returning r.message_id as id, r.forward_path as path`
}

async function waiting(tx: Sql, ids: string[]): Promise<Reached[]> {
  return await tx`
    select message_id as id, forward_path as path from recipients where message_id = any(${ids}) and ${isOpen(tx)} order by n`
}

/** Forward-paths by message. */
function byMessage(rows: Reached[]): Map<string, string[]> {
  return new Map([...grouped(rows, ({ id }) => id)].map(([id, reached]) => [id, reached.map(({ path }) => path)]))
}
