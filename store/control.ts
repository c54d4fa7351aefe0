// What operators do to a queued message: each action one transaction that changes the rows and records who, when and why.

import { byRecipient, type ControlAction, type ControlRequest, type ControlResult, faultOf } from '../mail/control.ts'
import type { Progress } from '../mail/progress.ts'
import { UnknownMessage } from '../mail/unknown-message.ts'
import { byOperator } from '../mail/verdict.ts'
import { recordAction } from './actions.ts'
import type { Sql } from './database.ts'
import { readProgress, type Retention, settleProgress } from './recipients.ts'

const pathsTold = 100

/** What was done, and how far the message has come with it. */
export interface Controlled {
  result: ControlResult
  progress: Progress
}

/**
 * Does what is asked, or returns why not. `update` names the asking: an activity may run twice, and the second run finds what the
 * first has done. `clock`: the workflow's, in milliseconds; it and ours may differ. `reached`: all forward-paths that it changed now, however many.
 */
export async function controlMessage(
  sql: Sql, id: string, request: ControlRequest, update: string, clock: number, retention: Retention,
): Promise<(Controlled & { reached: string[] }) | { refused: string }> {
  return await sql.begin(async (transaction) => {
    const tx = transaction as unknown as Sql
    const { action, recipients = null, nextHop, lifetime } = request
    const known = await lockAndRead(tx, id, update)
    if (known.before) return { ...(await asBefore(tx, id, known.before)), reached: [] }
    const fault = faultOf(known, action)
    if (fault) return { refused: fault }
    const busy = breaksOff.has(action) ? await breakOff(tx, id, recipients) : []
    const changed = await actions[action](tx, { id, request, clock: new Date(clock), recipients })
    if (changed.length === 0) {
      const why = busy.length > 0
        ? `its reply to the final dot is awaited for ${busy.join(', ')}; look again later`
        : `none of its recipients${recipients ? ' named' : ''} waits: it is settled, an attempt is under way, or a report is being sent`
      return { refused: why }
    }
    const told = changed.slice(0, pathsTold)
    const detail = { update, count: changed.length, busy, ...(byRecipient(action) ? { recipients: told } : {}), nextHop, lifetime }
    await recordAction(tx, id, request, detail)
    const progress = await settleProgress(tx, id, retention)
    // The workflow looks at once; should it be lost before that, the outbox starts another.
    await tx`update messages set drive_at = least(drive_at, now() + interval '1 minute') where id = ${id} and drive_at is not null`
    return { result: { changed: told, count: changed.length, busy }, progress, reached: changed }
  })
}

interface Known {
  state: string
  held: boolean
  /** The record of this very asking, where it was done before. */
  before: { recipients?: string[]; count: number; busy: string[] } | null
}

/** Takes the message and tells how it stands. */
async function lockAndRead(tx: Sql, id: string, update: string): Promise<Known> {
  // Sent together, yet two statements: the second sees what was committed while the first waited.
  const [, [known]] = await Promise.all([
    tx`select from messages where id = ${id} for no key update`.execute(),
    tx<Known[]>`
      select state, held_at is not null as held,
        (select detail from actions where message_id = ${id} and detail ->> 'update' = ${update}) as before
      from messages where id = ${id}`.execute(),
  ])
  if (!known) throw new UnknownMessage()
  return known
}

async function asBefore(tx: Sql, id: string, { recipients, count, busy }: NonNullable<Known['before']>): Promise<Controlled> {
  const changed = recipients ?? (await queuedPaths(tx, id)).slice(0, pathsTold)
  return { result: { changed, count, busy }, progress: await readProgress(tx, id) }
}

/** Actions that an attempt under way must not outrun. */
const breaksOff = new Set<ControlAction>(['hold', 'reroute', 'bounce', 'drop'])

/**
 * Takes the recipients from attempts that have not sent the final dot: those may not send it any more (markDot). An attempt whose lease
 * has lapsed may live all the same, and is taken none too early. Returns the forward-paths whose dot was sent: only the reply can tell
 * what becomes of them.
 */
async function breakOff(tx: Sql, id: string, recipients: number[] | null): Promise<string[]> {
  // Taken before it is judged by its attempt: a dot that is being marked is waited for, and then seen.
  const [taken] = await tx<{ leased: boolean | null }[]>`
    with taken as (
      select leased_until from recipients r where message_id = ${id} and state = 'queued' and ${chosen(tx, recipients)} order by n for no key update
    )
    select bool_or(leased_until is not null) as leased from taken`
  if (!taken!.leased) return []
  await tx`
    update recipients r set attempt = null, leased_until = null from attempts a
    where r.message_id = ${id} and r.state = 'queued' and ${chosen(tx, recipients)}
      and a.message_id = r.message_id and a.number = r.attempt and (a.dot_at is null or r.leased_until <= now())`
  const rows = await tx<{ path: string }[]>`
    select forward_path as path from recipients r
    where message_id = ${id} and state = 'queued' and leased_until > now() and ${chosen(tx, recipients)} order by n limit ${pathsTold}`
  return rows.map((row) => row.path)
}

function chosen(tx: Sql, recipients: number[] | null) {
  return recipients === null ? tx`true` : tx`r.n = any(${recipients}::int[])`
}

interface Step {
  id: string
  request: ControlRequest
  clock: Date
  recipients: number[] | null
}

/** Each returns the forward-paths that it reached. Where an operator gives mail more time or another way, what the retry rules counted begins anew. */
const actions: Record<ControlAction, (tx: Sql, step: Step) => Promise<string[]>> = {
  async hold(tx, { id }) {
    await tx`update messages set held_at = now() where id = ${id}`
    return await queuedPaths(tx, id)
  },
  /** The time on hold does not count as time in the queue. */
  async release(tx, { id }) {
    await tx`update messages set expires_at = expires_at + (now() - held_at), held_at = null where id = ${id}`
    return paths(await tx`
      update recipients r set next_attempt_at = greatest(now(), m.send_at), ruled = default, gives_up_at = null from messages m
      where m.id = ${id} and r.message_id = ${id} and r.state = 'queued' returning r.forward_path as path`)
  },
  async retry(tx, { id, recipients }) {
    return paths(await tx`
      update recipients r set next_attempt_at = now()
      where message_id = ${id} and state = 'queued' and (leased_until is null or leased_until <= now()) and ${chosen(tx, recipients)}
      returning forward_path as path`)
  },
  async reroute(tx, { id, recipients, request }) {
    return paths(await tx`
      update recipients r set route = ${request.nextHop ?? null}, ruled = default, gives_up_at = null, next_attempt_at = greatest(now(), (select send_at from messages where id = ${id}))
      where message_id = ${id} and state = 'queued' and (leased_until is null or leased_until <= now()) and ${chosen(tx, recipients)}
      returning forward_path as path`)
  },
  /** Put off first, so that nobody is tried once more: the lifetime is over by the operator's word. */
  async expire(tx, { id, clock }) {
    await tx`update messages set expires_at = least(now(), ${clock}), held_at = null where id = ${id}`
    return paths(await tx`
      update recipients set next_attempt_at = now() + interval '1 day' where message_id = ${id} and state = 'queued'
      returning forward_path as path`)
  },
  async bounce(tx, { id, recipients, request }) {
    return paths(await tx`
      update recipients r set state = 'bouncing', outcome = ${tx.json(byOperator('returned', request.why) as never)}, leased_until = null
      where message_id = ${id} and state = 'queued' and (leased_until is null or leased_until <= now()) and ${chosen(tx, recipients)}
      returning forward_path as path`)
  },
  async drop(tx, { id, recipients, request }) {
    return paths(await tx`
      update recipients r set state = 'bounced', dropped = true, outcome = ${tx.json(byOperator('dropped', request.why) as never)}, settled_at = now(),
        leased_until = null
      where message_id = ${id} and state = 'queued' and (leased_until is null or leased_until <= now()) and ${chosen(tx, recipients)}
      returning forward_path as path`)
  },
  /** The last attempt is made when the lifetime ends, so it may come earlier now. */
  async 'set-lifetime'(tx, { id, request }) {
    const [message] = await tx<{ expiresAt: Date }[]>`
      update messages set expires_at = greatest(accepted_at, send_at) + ${request.lifetime!}::float8 * interval '1 millisecond' where id = ${id}
      returning expires_at as "expiresAt"`
    await tx`
      update recipients set ruled = default, gives_up_at = null, next_attempt_at = least(next_attempt_at, ${message!.expiresAt}) where message_id = ${id} and state = 'queued'`
    return await queuedPaths(tx, id)
  },
}

async function queuedPaths(tx: Sql, id: string): Promise<string[]> {
  return paths(await tx`select forward_path as path from recipients where message_id = ${id} and state in ('queued', 'notifying', 'bouncing') order by n`)
}

function paths(rows: Iterable<unknown>): string[] {
  return [...(rows as Iterable<{ path: string }>)].map((row) => row.path)
}
