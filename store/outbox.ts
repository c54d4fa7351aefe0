// The outbox: messages that something should be done about now, whose workflow may not have started, or may be lost.

import { isLeased, isOpen } from './conditions.ts'
import type { Sql } from './database.ts'

/**
 * Messages that are due to be driven, at most `limit`. Each is put off a little, so that several processes take turns, and
 * comes back when the start of its workflow fails.
 */
export async function claimDue(sql: Sql, limit: number): Promise<Due[]> {
  return await sql<Due[]>`
    update messages m set drive_at = now() + interval '15 seconds', driven = case when driven > ${patience} then 1 else driven + 1 end
    where id in (select id from messages where drive_at <= now() order by drive_at limit ${limit} for update skip locked)
    returning id, drive_at::text as "driveAt", started_at is not null and held_at is null and driven > ${patience}
      and not exists (select from recipients r where r.message_id = m.id and ${isLeased(sql)})
      and exists (select from recipients r where r.message_id = m.id
        and (r.state in ('bouncing', 'notifying') or (r.state = 'queued' and r.next_attempt_at < now() - interval '10 minutes'))) as stuck`
}

export interface Due {
  id: string
  /** When it comes back by itself, as Postgres writes it. */
  driveAt: string
  /** Overdue, driven again and again, and nothing has come of it: its workflow does nothing, or no worker answers. */
  stuck: boolean
}

/** What a workflow was found to need: it was started or told; made anew, since it did nothing; or left alone, since it waits for a worker. */
export type Driven = 'driven' | 'anew' | 'unanswered'

/** What became of one that was due; `failed`: Temporal did not do what it was asked. */
export type Became = Pick<Due, 'id' | 'driveAt'> & { became: Driven | 'failed' }

/** How often a workflow is told, five minutes apart, before it counts as stuck. */
const patience = 3

/**
 * After the starts: Temporal drives the started ones, so they are looked at again a little after the next thing is due, in five minutes at
 * the earliest; the failed ones come back soon, and were not driven. Nor were those that wait for a worker: it finds them by itself. They are
 * locked in the order of their ids, as by all that take several. What has got another time than `driveAt` meanwhile, as by an operator's word,
 * keeps it.
 */
export async function putOff(sql: Sql, those: Became[]): Promise<void> {
  await sql`
    with those as (
      select * from unnest(${those.map(({ id }) => id)}::text[], ${those.map(({ driveAt }) => driveAt)}::text[], ${those.map(({ became }) => became)}::text[]) as t (id, drive_at, became)
    ),
    taken as (
      select id, became from messages join those using (id) where messages.drive_at = those.drive_at::timestamptz order by id for no key update of messages
    )
    update messages m set driven = driven - case when became in ('failed', 'unanswered') then 1 else 0 end,
      drive_at = case became
        when 'failed' then least(drive_at, now() + interval '1 second')
        when 'unanswered' then now() + interval '15 minutes'
        else greatest(drive_at, now() + interval '5 minutes', (
          select case when bool_and(r.state = 'queued') then least(min(r.next_attempt_at), m.expires_at) + interval '2 minutes' end
          from recipients r where r.message_id = m.id and ${isOpen(sql)}))
      end
    from taken where m.id = taken.id`
}

/** Messages whose workflow has never run, counted up to `limit`. */
export async function countOutbox(sql: Sql, limit: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*) from (select from messages where started_at is null limit ${limit}) m`
  return row!.count
}
