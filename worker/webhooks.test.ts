import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { settingsSchema } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { testDatabase } from '../test/support/database.ts'
import { until } from '../test/support/until.ts'
import { startWebhooks } from './webhooks.ts'

interface Post {
  id: string
  seq: number
  message: string
}

/** A webhook on a database of its own, which owes it so many events, in turn of each of the messages; changed by `prepare` before the first look. */
async function startOwing(
  events: number, messages: number, prepare: (sql: Sql) => Promise<unknown>, answer: (post: Post, response: ServerResponse) => void,
) {
  const { sql, drop } = await testDatabase()
  const receiver = { posts: [] as Post[], underWay: 0 }
  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    receiver.underWay++
    response.on('close', () => { receiver.underWay-- })
    const id = String(request.headers['webhook-id'])
    const post = { id, seq: Number.parseInt(id, 10), message: JSON.parse(await text(request)).data.id as string }
    receiver.posts.push(post)
    answer(post, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as { port: number }).port}/`
  await sql`
    insert into events (seq, message_id, at, event, detail) overriding system value
    select n, 'm' || n % ${messages}::int, now(), 'accepted', '{}' from generate_series(1, ${events}::int) n`
  await sql`insert into webhook_queue (webhook, seq, message_id) select 'w', seq, message_id from events`
  await prepare(sql)
  const settings = settingsSchema.parse({ webhooks: [{ name: 'w', url, secret: 'a secret of the receiver', minimalBackoffTime: '1s' }] })
  const webhooks = startWebhooks({ sql, settings, log: pino({ level: 'silent' }), interval: 100 })
  return {
    sql, receiver,
    async end() {
      server.closeAllConnections()
      server.close()
      await webhooks.stop()
      await drop()
    },
  }
}

test('a post that hangs holds up its own message alone; the others come in order, as fast as they are taken', async () => {
  const { sql, receiver, end } = await startOwing(600, 200, async () => {}, ({ message }, response) => {
    if (message !== 'm7') response.writeHead(204).end()
  })
  try {
    await until('all others are told', async () => (await sql`select from webhook_queue where message_id <> 'm7'`).length === 0, 8000)
    assert.equal(receiver.posts.length, 598)
    for (let i = 0; i < 200; i++) {
      const ids = receiver.posts.filter(({ message }) => message === `m${i}`).map(({ seq }) => seq)
      assert.deepEqual(ids, i === 7 ? [7] : [...ids].sort((a, b) => a - b))
    }
  } finally {
    await end()
  }
})

test('where nobody answers one post at a time asks on, and all that is older than its lifetime is given up', async () => {
  const { sql, receiver, end } = await startOwing(20_000, 5000, (sql) => sql`update events set at = now() - interval '4 days' where seq <= 19000`, () => {})
  try {
    const left = async () => (await sql`select from webhook_queue where dead_at is null`).length
    // Those whose post is under way meanwhile are given up one by one.
    await until('what is too old is given up', async () => (await left()) < 1100, 40_000)
    await until('the first posts have ended', () => receiver.underWay <= 1)
    const before = receiver.posts.length
    await sleep(500)
    assert.ok(receiver.underWay <= 1 && receiver.posts.length <= before + 1)
    assert.equal((await sql`select from webhook_queue q join events e using (seq) where e.at > now() - interval '3 days' and dead_at is not null`).length, 0)
  } finally {
    await end()
  }
})

test('a dead letter is forgotten after retention.deadEvents', async () => {
  const { sql, end } = await startOwing(3000, 1000, (sql) => sql`update webhook_queue set dead_at = now() - case when seq <= 2500 then 31 else 29 end * interval '1 day'`, () => {})
  try {
    await until('the old ones are forgotten', async () => (await sql`select from webhook_queue`).length === 500)
    assert.equal((await sql`select from webhook_queue where seq > 2500`).length, 500)
  } finally {
    await end()
  }
})

test('an event has one id, however often it is posted; those that come after the database was taken back have others', async () => {
  const { sql, receiver, end } = await startOwing(3, 1, async () => {}, (_, response) => {
    response.writeHead(receiver.posts.length === 1 ? 500 : 204).end()
  })
  try {
    const taken = async () => (await sql`select from webhook_queue`).length === 0
    await until('they are taken', taken)
    const before = receiver.posts.map(({ id }) => id)
    assert.equal(before[0], before[1])
    // The sequence as it was, and other events since.
    await sql`delete from events`
    await sql`insert into events (seq, message_id, event, detail) overriding system value select n, 'n', 'accepted', '{}' from generate_series(1, 3) n`
    await sql`insert into webhook_queue (webhook, seq, message_id) select 'w', seq, message_id from events`
    await until('these, too', async () => receiver.posts.length === 7 && await taken())
    assert.deepEqual(receiver.posts.slice(4).map(({ seq }) => seq), [1, 2, 3])
    assert.equal(new Set(receiver.posts.map(({ id }) => id)).size, 6)
  } finally {
    await end()
  }
})
