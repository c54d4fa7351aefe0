import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { readBody, releaseBodies } from './bodies.ts'
import { readMessage } from './messages.ts'
import { listQueue } from './queue.ts'
import { readRecipients } from './recipients.ts'
import { findFailed, replayMessage } from './replay.ts'
import { settleFailed } from './reports.ts'

const { sql, drop } = await testDatabase()
after(drop)

const retention = { delivered: 0, failed: 86_400_000 }

async function accepted(...recipients: string[]): Promise<string> {
  const message = newMessage(recipients)
  await acceptMessage(sql, message)
  return message.id
}

test('settling commits the report in the same transaction', async () => {
  const id = await accepted('a@x.test', 'b@x.test')
  await sql`update recipients set state = 'bouncing' where message_id = ${id} and n = 0`
  const dsn = newMessage(['sender@example.test'], { kind: 'dsn', parent: id })
  const settled = await settleFailed(sql, { id, expire: false, retention, report: () => dsn, isDeadLetter: () => true })
  assert.equal(settled.dsn, dsn.id)
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => [r.state, r.deadLetter]), [['bounced', false], ['queued', false]])
  assert.equal((await readMessage(sql, dsn.id))?.parent, id)
})

test('a report that cannot be stored settles nobody', async () => {
  const id = await accepted('a@x.test')
  await sql`update recipients set state = 'bouncing' where message_id = ${id}`
  const twice = newMessage(['sender@example.test'], { id })
  await assert.rejects(settleFailed(sql, { id, expire: false, retention, report: () => twice, isDeadLetter: () => true }))
  assert.equal((await readRecipients(sql, id, 1))[0]?.state, 'bouncing')
})

test('what nobody can be told of is a dead letter, and can be replayed; the body stays', async () => {
  const id = await accepted('a@x.test', 'b@y.test')
  await settleFailed(sql, { id, expire: true, retention, report: () => null, isDeadLetter: () => true })
  assert.equal((await readMessage(sql, id))?.state, 'finished')
  assert.deepEqual((await findFailed(sql, { domain: 'y.test' }, id))[0]?.recipients, ['b@y.test'])
  const replayed = await replayMessage(sql, { id, domain: 'y.test', who: 'test', why: '', lifetime: 1000, retention })
  assert.deepEqual(replayed, ['b@y.test'])
  assert.deepEqual((await readRecipients(sql, id, 9)).map((r) => [r.state, r.deadLetter]), [['expired', true], ['queued', false]])
  const again = await replayMessage(sql, { id, domain: 'y.test', who: 'test', why: '', lifetime: 1000, retention })
  assert.deepEqual(again, [])
  assert.ok((await listQueue(sql, { limit: 10 })).some((row) => row.id === id && row.waiting === 1))
})

test('a released body cannot be replayed', async () => {
  const id = await accepted('a@x.test')
  await settleFailed(sql, { id, expire: true, retention: { delivered: 0, failed: 0 }, report: () => null, isDeadLetter: () => true })
  await releaseBodies(sql, 1000)
  assert.equal((await findFailed(sql, {}, id))[0]?.released, true)
  assert.deepEqual(await replayMessage(sql, { id, who: 'test', why: '', lifetime: 1000, retention }), [])
  await assert.rejects(readBody(sql, id, 24).next(), /ends after 0 of 24 octets/)
})
