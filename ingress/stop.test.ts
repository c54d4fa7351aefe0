import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { pino } from 'pino'
import { settingsSchema } from '../settings/schema.ts'
import { testDatabase } from '../test/support/database.ts'
import { until } from '../test/support/until.ts'
import { startIngress } from './server.ts'
import { noAliases } from './testing.ts'

test('ingress stops while a commit is under way: that client hears nothing rather than no, an idle one hears 421', async () => {
  const { sql, drop } = await testDatabase()
  const settings = settingsSchema.parse({ listeners: [{ kind: 'smtp', address: '127.0.0.1', port: 0 }], localDomains: { 'x.test': { deliver: 'maildir', path: '/nowhere' } } })
  const outbox = { full: () => false, accepted: () => {}, stop: async () => {} }
  const ingress = await startIngress({ settings, sql, aliases: noAliases, startMessage: async () => {}, dns: { reverse: async () => null }, outbox, log: pino({ level: 'silent' }) })
  const talk = (lines: string[]) => {
    const client = { heard: '', closed: false }
    const socket = connect(ingress.addresses[0]!.port, '127.0.0.1').setEncoding('latin1')
    socket.on('error', () => {}).on('close', () => { client.closed = true }).on('data', (text: string) => {
      client.heard += text
      const line = lines.shift()
      if (line !== undefined) socket.write(line)
    })
    return client
  }
  let release = () => {}
  const locked = sql.begin(async (tx) => {
    await tx`lock table messages in access exclusive mode`
    await new Promise<void>((resolve) => { release = resolve })
  })
  try {
    const idle = talk(['EHLO c.test\r\n'])
    const committing = talk(['EHLO c.test\r\n', 'MAIL FROM:<a@x.test>\r\n', 'RCPT TO:<b@x.test>\r\n', 'DATA\r\n', 'Subject: x\r\n\r\nx\r\n.\r\n'])
    await until('the INSERT waits for the lock', async () => (await sql`
      select from pg_stat_activity where wait_event_type = 'Lock' and query like '%insert into body_chunks%' and pid <> pg_backend_pid()`).length > 0)
    await ingress.stop()
    await until('both connections are closed', () => idle.closed && committing.closed)
    assert.match(idle.heard, /\r\n421 /)
    assert.match(committing.heard, /\r\n354 .*\r\n$/)
    release()
    await locked
    await until('the message is there', async () => (await sql`select from messages`).length === 1)
  } finally {
    release()
    await drop()
  }
})
