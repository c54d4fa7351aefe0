import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { claimDue, putOff } from './outbox.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('while Temporal cannot be told of it, no workflow counts as stuck; told again and again without effect, it does', async () => {
  const message = newMessage(['a@partner.test'])
  await acceptMessage(sql, message)
  await sql`update messages set started_at = now() where id = ${message.id}`
  await sql`update recipients set next_attempt_at = now() - interval '1 hour' where message_id = ${message.id}`
  const drive = async (told: boolean) => {
    await sql`update messages set drive_at = now() where id = ${message.id}`
    const [due] = await claimDue(sql, 10)
    await putOff(sql, [{ ...due!, became: told ? 'driven' : 'failed' }])
    return due!.stuck
  }
  for (let i = 0; i < 20; i++) assert.equal(await drive(false), false)
  const stuck: boolean[] = []
  for (let i = 0; i < 5; i++) stuck.push(await drive(true))
  assert.deepEqual(stuck, [false, false, false, true, false])
})
