import assert from 'node:assert/strict'
import { test } from 'node:test'
import { masked } from './secrets.ts'

test('of a URL the password is hidden, whatever it is made of and wherever it stands; what cannot be read for sure is hidden whole', () => {
  for (const [url, shown] of [
    ['postgres://h/db', 'postgres://h/db'],
    ['postgres://u@h:5432/db', 'postgres://u@h:5432/db'],
    ['postgres://u:secret@h:5432/db', 'postgres://u:***@h:5432/db'],
    ['postgres://u:se@secret@h/db', 'postgres://u:***@h/db'],
    ['postgres://u:se:secret@[::1]:5432,h2:5433/db', 'postgres://u:***@[::1]:5432,h2:5433/db'],
    ['postgres:///db?host=/run&user=u&password=secret', 'postgres:///db?host=/run&user=u&password=***'],
    ['postgres://h/db?sslpassword=secret&sslmode=require', 'postgres://h/db?sslpassword=***&sslmode=require'],
    ['postgres://u:se/secret@h/db', '***'],
    ['postgres://u:7?secret@h/db', '***'],
    ['postgres://u:secret', '***'],
    ['u:secret@h', '***'],
    ['postgres://u secret', '***'],
    ['https://hook.test/x?token=secret', 'https://hook.test/x?token=***'],
  ] as const) {
    const { database } = masked({ database: { url } }) as { database: { url: string } }
    assert.equal(database.url, shown)
  }
  const misplaced = { database: 'postgres://u:secret@h/db', users: { alice: 'scrypt$1$secret' }, auth: { password: 'secret', passwordFile: '/run/x', passwordEnv: 'X' }, webhooks: [{ secret: 7 }] }
  assert.deepEqual(masked(misplaced), {
    database: 'postgres://u:***@h/db', users: { alice: 'scrypt$***' }, auth: { password: '***', passwordFile: '/run/x', passwordEnv: 'X' }, webhooks: [{ secret: '***' }],
  })
  const all = { users: [{ name: 'a', passwordHash: 'scrypt$1$secret' }, { name: 'b', passwordHash: 'secret' }], webhooks: [{ secret: 'a"secret', url: '' }], n: 1, none: null }
  assert.deepEqual(masked(all), { users: [{ name: 'a', passwordHash: 'scrypt$***' }, { name: 'b', passwordHash: '***' }], webhooks: [{ secret: '***', url: '' }], n: 1, none: null })
})
