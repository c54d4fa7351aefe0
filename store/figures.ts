// Figures of the whole installation, for those who watch it: a handful of numbers, each read from an index.

import type { Sql } from './database.ts'

export interface Figures {
  queued: number
  held: number
  /** Since when the oldest message that is queued and not on hold might have gone out: its acceptance, or the time that its sender has put it off to. null: there is none. */
  oldest: Date | null
  /** Messages whose workflow has never run. */
  outbox: number
  suspended: number
  circuits: number
  /** Recipients that failed for good in the last hour. */
  bounced: number
  expired: number
  webhooks: { name: string; waiting: number; dead: number }[]
}

/** Each of its statements is given up after `limit` milliseconds: a table may be locked. */
export async function readFigures(sql: Sql, limit: number): Promise<Figures> {
  const [, [row], webhooks] = await sql.begin((tx) => [
    tx`select set_config('statement_timeout', ${String(limit)}, true)`,
    tx<Omit<Figures, 'webhooks'>[]>`
      select (select count(*) from messages where state = 'queued') as queued, (select count(*) from messages where held_at is not null) as held,
             least((select min(accepted_at) from messages where state = 'queued' and held_at is null and send_at is null),
                   (select min(greatest(accepted_at, send_at)) from messages where state = 'queued' and held_at is null and send_at <= now())) as oldest,
             (select count(*) from messages where started_at is null) as outbox,
             (select count(*) from destinations where suspended_until > now()) as suspended,
             (select count(*) from destinations where circuit_until is not null) as circuits,
             f.bounced, f.expired
      from (
        select count(*) filter (where state = 'bounced') as bounced, count(*) filter (where state = 'expired') as expired
        from recipients where state in ('bounced', 'expired') and settled_at > now() - interval '1 hour'
      ) f`,
    tx<Figures['webhooks']>`
      select s.name, count(q.seq) filter (where q.dead_at is null) as waiting, count(q.dead_at) as dead
      from subscribers s left join webhook_queue q on q.webhook = s.name where s.kind = 'webhook' group by s.name`,
  ] as const)
  return { ...row!, webhooks: [...webhooks] }
}
