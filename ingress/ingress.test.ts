import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { settingsSchema } from '../settings/schema.ts'
import { readBody } from '../store/bodies.ts'
import { openDatabase, type Sql } from '../store/database.ts'
import { testDatabase } from '../test/support/database.ts'
import { startIngress } from './server.ts'
import { noAliases } from './testing.ts'

const { sql, drop } = await testDatabase()
const settings = settingsSchema.parse({
  listeners: [{ kind: 'smtp', address: '127.0.0.1', port: 0 }, { kind: 'submission', address: '127.0.0.1', port: 0 }],
  relayNetworks: ['10.0.0.0/8'], localDomains: { 'example.test': { deliver: 'maildir', path: '/nowhere/{localpart}' } },
  limits: { messageSize: '2MiB', hops: 3 },
})
const outbox = { full: () => false, accepted: () => {}, stop: async () => {} }
const ingressOn = (sql: Sql, change = {}) =>
  startIngress({ settings, sql, aliases: noAliases, startMessage: async () => {}, dns: { reverse: async () => null }, outbox: { ...outbox, ...change }, log: pino({ level: 'silent' }) })
const ingress = await ingressOn(sql)
after(async () => {
  await ingress.stop()
  await drop()
})
const port = (kind: string, of = ingress) => of.addresses.find((address) => address.kind === kind)!.port

/** Says each line when the reply to the one before has come; returns the last line of each reply, the greeting first. */
async function dialogue(lines: string[], at = port('smtp')): Promise<string[]> {
  const socket = connect(at, '127.0.0.1')
  const replies: string[] = []
  let text = ''
  let ended = false
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
    for (let end = text.indexOf('\r\n'); end >= 0; end = text.indexOf('\r\n')) {
      if (text[3] === ' ') replies.push(text.slice(0, end))
      text = text.slice(end + 2)
    }
  }).on('close', () => { ended = true }).on('error', () => {})
  for (const [i, line] of ['', ...lines].entries()) {
    if (line !== '') socket.write(Buffer.from(line, 'latin1'))
    for (let waited = 0; replies.length <= i && !ended && waited < 10_000; waited += 5) await sleep(5)
  }
  socket.destroy()
  return replies
}

const envelope = ['EHLO c.test\r\n', 'MAIL FROM:<s@a.test>\r\n', 'RCPT TO:<r@example.test>\r\n', 'DATA\r\n']
const count = async () => (await sql<{ messages: number; chunks: number; uploads: number }[]>`
  select (select count(*) from messages) as messages, (select count(*) from body_chunks) as chunks, (select count(*) from uploads) as uploads`)[0]!

async function bodyOf(reply: string): Promise<string> {
  const id = /^250 2\.0\.0 Ok: queued as (\w{18})$/.exec(reply)![1]!
  const [row] = await sql<{ size: number }[]>`select size from messages where id = ${id}`
  let body = ''
  for await (const chunk of readBody(sql, id, row!.size)) body += Buffer.from(chunk).toString('latin1')
  return body
}

for (const recipient of ['x@other.test', 'x%other.test@other.test', '"r@example.test"@other.test', '@example.test:x@other.test', 'x@[127.0.0.1]', 'x@sub.example.test', 'x@example.test.other.test']) {
  test(`no open relay: ${recipient}`, async () => {
    const replies = await dialogue(['EHLO c.test\r\n', 'MAIL FROM:<s@example.test>\r\n', `RCPT TO:<${recipient}>\r\n`])
    assert.equal(replies.length, 4)
    assert.match(replies.at(-1)!, /^5\d\d /)
  })
}

test('local domains are open to all, and postmaster without a domain', async () => {
  const replies = await dialogue(['EHLO c.test\r\n', 'MAIL FROM:<>\r\n', 'RCPT TO:<R@EXAMPLE.test>\r\n', 'RCPT TO:<postmaster>\r\n'])
  assert.deepEqual(replies.slice(-2).map((reply) => reply.slice(0, 3)), ['250', '250'])
})

test('submission asks for AUTH, and AUTH for TLS', async () => {
  const replies = await dialogue(['EHLO c.test\r\n', 'MAIL FROM:<s@example.test>\r\n', 'AUTH PLAIN AGEAYg==\r\n'], port('submission'))
  assert.match(replies[2]!, /^530/)
  assert.match(replies[3]!, /^5/)
})

test('the body comes into the database octet for octet: empty, with dots, in many chunks', async () => {
  const long = `Subject: x\r\n\r\n${'..dots and \xff octets\r\n'.repeat(60_000)}`
  for (const body of ['', '.\r\n', '\r\n..\r\n.x\r\n', long]) {
    const replies = await dialogue([...envelope, `${`\r\n${body}`.replace(/\r\n\./g, '\r\n..').slice(2)}.\r\n`])
    assert.equal(await bodyOf(replies.at(-1)!), body)
  }
})

const smuggling = ['\n.\n', '\n.\r\n', '\r\n.\n', '\r.\r', '\r.\r\n', '\r\n.\r', '\r\n\0.\r\n']
for (const end of smuggling) {
  test(`no smuggling through ${JSON.stringify(end)}`, async () => {
    const before = await count()
    const inner = `MAIL FROM:<evil@a.test>\r\nRCPT TO:<r@example.test>\r\nDATA\r\nSubject: evil\r\n`
    const replies = await dialogue([...envelope, `Subject: a\r\n\r\nhello${end}${inner}\r\n.\r\n`])
    assert.match(replies.at(-1)!, /^550 5\.6\.0 /)
    assert.equal(replies.length, 6)
    assert.deepEqual(await count(), before)
  })
}

test('too large and too many hops are refused and leave nothing', async () => {
  const before = await count()
  assert.match((await dialogue([...envelope, `${'x'.repeat(998)}\r\n`.repeat(2200) + '.\r\n'])).at(-1)!, /^552 5\.3\.4 /)
  assert.match((await dialogue([...envelope, `${'Received: by x\r\n'.repeat(4)}\r\n.\r\n`])).at(-1)!, /^554 5\.4\.6 /)
  assert.match((await dialogue([envelope[0]!, 'MAIL FROM:<s@a.test> SIZE=9999999\r\n'])).at(-1)!, /^552/)
  assert.deepEqual(await count(), before)
})

test('a client that leaves before the dot leaves no trace', async () => {
  const before = await count()
  const socket = connect(port('smtp'), '127.0.0.1')
  for (const line of envelope) {
    await once(socket, 'data') // the reply to the line before, at first the greeting
    socket.write(line)
  }
  await once(socket, 'data')
  for (let i = 0; i < 20; i++) socket.write(`${'x'.repeat(998)}\r\n`.repeat(40))
  for (let waited = 0; (await count()).uploads === 0 && waited < 5000; waited += 20) await sleep(20)
  assert.equal((await count()).uploads, 1, 'it was under way')
  socket.destroy()
  for (let waited = 0; (await count()).uploads > 0 && waited < 5000; waited += 20) await sleep(20)
  assert.deepEqual(await count(), before)
})

test('unknown parameters are refused, and UTF-8 addresses without SMTPUTF8', async () => {
  const replies = await dialogue(['EHLO c.test\r\n', 'MAIL FROM:<s@a.test> FOO=bar\r\n', 'MAIL FROM:<s@a.test>\r\n', 'RCPT TO:<\xc3\xa9@example.test>\r\n'])
  assert.match(replies[2]!, /^555 5\.5\.4 /)
  assert.match(replies[4]!, /^553 5\.6\.7 /)
})

test('without the database, and with a full outbox, mail is deferred', async () => {
  const away = openDatabase('postgres://x:x@127.0.0.1:1/x', 1)
  const broken = await ingressOn(away)
  const full = await ingressOn(sql, { full: () => true })
  try {
    assert.match((await dialogue([...envelope, 'A: 1\r\n.\r\n'], port('smtp', broken))).at(-1)!, /^451 4\.3\.0 /)
    assert.match((await dialogue(envelope.slice(0, 2), port('smtp', full))).at(-1)!, /^451 4\.3\.2 /)
  } finally {
    await Promise.all([broken.stop(), full.stop()])
    await away.end({ timeout: 0 })
  }
})
