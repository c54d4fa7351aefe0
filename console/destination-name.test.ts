import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { settingsSchema } from '../settings/schema.ts'
import { testDatabase } from '../test/support/database.ts'
import { destinationName } from './destination-name.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('the path of a Unix socket is a destination before any mail waits for it, and keeps its case', async () => {
  const settings = settingsSchema.parse({})
  const name = 'lmtp:unix:/run/Dovecot/lmtp'
  assert.deepEqual(await destinationName(sql, settings, name), { name, known: false })
  await sql`insert into destinations (name, suspended_until) values (${name}, now())`
  assert.deepEqual(await destinationName(sql, settings, name.toLowerCase()), { name, known: true })
  assert.deepEqual(await destinationName(sql, settings, 'Partner.Test'), { name: 'partner.test', known: false })
})
