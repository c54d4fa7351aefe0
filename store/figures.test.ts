import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { readFigures } from './figures.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('each figure counts what it says, and nothing beside it', async () => {
  assert.deepEqual(await readFigures(sql, 5000), { queued: 0, held: 0, oldest: null, outbox: 0, suspended: 0, circuits: 0, bounced: 0, expired: 0, webhooks: [] })
  const ids: string[] = []
  for (let i = 0; i < 4; i++) {
    const message = newMessage(['a@x.test', 'b@x.test', 'c@x.test'])
    await acceptMessage(sql, message)
    ids.push(message.id)
  }
  // On hold, and the oldest; started; finished; only waiting.
  await sql`update messages set held_at = now(), accepted_at = '2001-01-01' where id = ${ids[0]!}`
  await sql`update messages set started_at = now(), accepted_at = '2002-01-01T00:00:00Z' where id = ${ids[1]!}`
  await sql`update messages set started_at = now(), state = 'finished', accepted_at = '2000-01-01' where id = ${ids[2]!}`
  await sql`update recipients set state = 'bounced', settled_at = now() - n * interval '50 minutes' where message_id = ${ids[2]!}`
  await sql`update recipients set state = 'expired', settled_at = now() where message_id = ${ids[3]!} and n = 1`
  await sql`update recipients set state = 'delivered', settled_at = now() where message_id = ${ids[3]!} and n = 2`
  await sql`
    insert into destinations (name, suspended_until, circuit_until) values
      ('suspended', now() + interval '1 hour', null), ('was suspended', now() - interval '1 hour', null),
      ('open', null, now() - interval '1 minute'), ('open, and not due', null, now() + interval '1 hour'), ('neither', null, null)`
  await sql`insert into subscribers (name, kind) values ('w', 'webhook'), ('quiet', 'webhook'), ('s', 'stream')`
  await sql`insert into events (seq, message_id, event, detail) overriding system value select n, 'm', 'accepted', '{}' from generate_series(1, 3) n`
  await sql`insert into webhook_queue (webhook, seq, message_id, dead_at) select 'w', n, 'm', case n when 3 then now() end from generate_series(1, 3) n`
  const { webhooks, ...figures } = await readFigures(sql, 5000)
  assert.deepEqual(figures, { queued: 3, held: 1, oldest: new Date('2002-01-01T00:00:00Z'), outbox: 2, suspended: 1, circuits: 2, bounced: 2, expired: 1 })
  assert.deepEqual(webhooks.sort((a, b) => a.name.localeCompare(b.name)), [{ name: 'quiet', waiting: 0, dead: 0 }, { name: 'w', waiting: 2, dead: 1 }])
})

/** Accepted so many hours ago, and put off to so many hours from now. */
async function queued(acceptedAgo: number, sendIn: number | null): Promise<void> {
  const message = newMessage(['x@partner.test'])
  await acceptMessage(sql, message)
  await sql`update messages set accepted_at = now() - ${acceptedAgo} * interval '1 hour', send_at = now() + ${sendIn} * interval '1 hour' where id = ${message.id}`
}

/** Hours. */
async function oldest(): Promise<number | null> {
  const { oldest } = await readFigures(sql, 2500)
  return oldest && Math.round((Date.now() - oldest.getTime()) / 3_600_000)
}

test('mail that its sender has put off makes the queue no older than that time is past', async () => {
  await sql`delete from subscribers`
  await sql`delete from messages`
  await queued(200, 24)
  assert.equal(await oldest(), null, 'it waits for its time alone')
  await queued(100, -3)
  assert.equal(await oldest(), 3)
  await queued(2, -50)
  assert.equal(await oldest(), 3, 'put off to a time before it was accepted: it counts from then')
  await queued(7, null)
  assert.equal(await oldest(), 7)
})
