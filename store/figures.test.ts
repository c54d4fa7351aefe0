import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { readFigures } from './figures.ts'

const { sql, drop } = await testDatabase()
after(drop)

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
  await queued(200, 24)
  assert.equal(await oldest(), null, 'it waits for its time alone')
  await queued(100, -3)
  assert.equal(await oldest(), 3)
  await queued(2, -50)
  assert.equal(await oldest(), 3, 'put off to a time before it was accepted: it counts from then')
  await queued(7, null)
  assert.equal(await oldest(), 7)
})
