import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessages } from './accept.ts'
import { createJustAccepted } from './just-accepted.ts'
import { openMessage } from './messages.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('what is handed over is what would be read', async () => {
  const plain = newMessage(['a@x.test', 'Ünï@Bücher.test', '"q r"@x.test'], { body: Buffer.from('Subject: grüße\r\n\r\n\r\n') })
  const { recipients } = plain.envelope
  const [first, second] = [recipients[0]!, recipients[1]!]
  const envelope = {
    ...plain.envelope, reversePath: 'list+s@x.test', body: '8BITMIME' as const, smtpUtf8: true, requireTls: true, ret: 'HDRS' as const, envid: 'e+2B1',
    recipients: [{ ...first, notify: ['SUCCESS' as const, 'FAILURE' as const], orcpt: 'rfc822;a@x.test', verp: 'list+s=a=x.test@x.test' }, second, recipients[2]!],
  }
  const tls = { version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', verified: false }
  const origin = { ...plain.origin, protocol: 'UTF8SMTPSA' as const, clientName: 'c.test', tls, user: 'alice' }
  const message = { ...plain, envelope, origin, size: plain.body.length }
  const kept = createJustAccepted()
  kept.keep(message, await acceptMessages(sql, [message]))
  const read = await openMessage(sql, message.id, new Date(0), 1000)
  const handed = kept.take(message.id)
  // When somebody must see to the message: the outbox alone asks for it.
  assert.ok(read!.message.driveAt)
  const alike = (opened: typeof read) => ({
    ...opened, message: { ...opened!.message, driveAt: null }, recipients: opened!.recipients.map((each) => ({ ...each, nextAttemptAt: Math.floor(Date.parse(each.nextAttemptAt)) })),
  })
  assert.deepEqual(alike(handed), alike(read))
  assert.equal(kept.take(message.id), null, 'once')
})

test('what the first pass would not find as it came, or what is large, is read', async () => {
  const kept = createJustAccepted()
  const large = Buffer.alloc(65 * 1024, 'x')
  const expanded = newMessage(['a@x.test'])
  expanded.envelope.recipients[0]!.expanded = 2
  const others = [newMessage(['a@x.test'], { sendAt: new Date() }), newMessage(['a@x.test'], { body: 'uploaded' }), newMessage(['a@x.test'], { body: large, size: large.length }), expanded]
  for (const message of others) {
    kept.keep(message, new Date())
    assert.equal(kept.take(message.id), null)
  }
})

test('it keeps some megabytes: the latest', () => {
  const kept = createJustAccepted()
  const body = Buffer.alloc(60 * 1024, 'x')
  const messages = Array.from({ length: 300 }, () => newMessage(['a@x.test'], { body, size: body.length }))
  for (const message of messages) kept.keep(message, new Date())
  const there = messages.map(({ id }) => kept.take(id) !== null)
  assert.equal(there.lastIndexOf(false) + 1, there.indexOf(true))
  assert.ok(there.filter(Boolean).length > 100 && there.filter(Boolean).length < 150, String(there.filter(Boolean).length))
})
