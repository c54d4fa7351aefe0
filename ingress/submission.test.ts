import assert from 'node:assert/strict'
import { after, mock, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { addUser, changePassword, listUsers, removeUser } from '../store/users.ts'
import { hashPassword } from './password.ts'
import { fieldsInFront, ownsSender } from './submission.ts'
import { dialogue, openClient, testIngress } from './testing.ts'

const passwordHash = await hashPassword('wonderland')
const edge = await testIngress({
  users: [{ name: 'alice@example.test', passwordHash, addresses: ['@alice.test', 'info@example.test'] }],
  limits: { authFailures: 2, userMessages: 12, userRecipients: 100 }, submission: { futureRelease: '10d' },
})
after(edge.end)

const plain = (name: string, password: string) => Buffer.from(`\0${name}\0${password}`).toString('base64')
const base64 = (text: string) => Buffer.from(text).toString('base64')
const signedIn = `> EHLO c.test\n< 250\n> AUTH PLAIN ${plain('alice@example.test', 'wonderland')}\n< 235 2.7.0\n`
const submit = (script: string) => dialogue(edge.port('submission'), script, true)

test('587: TLS before AUTH, AUTH before MAIL', async () => {
  await dialogue(edge.port('submission'), `
    > EHLO c.test
    <- STARTTLS
    > MAIL FROM:<alice@example.test>
    < 530 5.7.0
    > AUTH PLAIN ${plain('alice@example.test', 'wonderland')}
    < 538 5.7.11`)
  await submit(`
    > EHLO c.test
    <- AUTH PLAIN LOGIN
    > MAIL FROM:<alice@example.test>
    < 530 5.7.0 Authentication is required
    > AUTH PLAIN ${plain('Alice@Example.test', 'wonderland')}
    < 235 2.7.0
    > AUTH PLAIN ${plain('alice@example.test', 'wonderland')}
    < 503 5.5.1
    > MAIL FROM:<alice@example.test>
    < 250 2.1.0
    > RCPT TO:<x@elsewhere.test>
    < 250 2.1.5`)
})

test('465: TLS from the start; 25: no AUTH at all', async () => {
  const client = openClient(edge.port('submissions'), { tls: true })
  assert.match(await client.reply(), /^220/)
  client.send('EHLO c.test\r\n')
  const ehlo = await client.reply()
  assert.match(ehlo, /AUTH PLAIN LOGIN/)
  assert.doesNotMatch(ehlo, /STARTTLS/)
  client.send('STARTTLS\r\n')
  assert.match(await client.reply(), /^503 5\.5\.1/)
  client.close()
  const [offered] = await dialogue(edge.port('smtp'), '> EHLO c.test\n< 250\n> AUTH PLAIN AGEAYg==\n< 502 5.5.1', true)
  assert.doesNotMatch(offered!, /AUTH/)
})

test('AUTH: PLAIN and LOGIN with and without initial response, cancelled, malformed', () => submit(`
    > EHLO c.test
    < 250
    > AUTH
    < 504 5.5.4
    > AUTH CRAM-MD5
    < 504 5.5.4
    > AUTH PLAIN
    < 334
    > *
    < 501 5.7.0
    > AUTH PLAIN !!!
    < 501 5.5.2
    > AUTH PLAIN ${base64('a\0b')}
    < 501 5.5.2
    > AUTH PLAIN ${base64('root\0alice@example.test\0wonderland')}
    < 535 5.7.8
    > AUTH LOGIN
    < 334 VXNlcm5hbWU6
    > ${base64('alice@example.test')}
    < 334 UGFzc3dvcmQ6
    > ${base64('wonderland')}
    < 235 2.7.0`).then(() => submit(`
    > EHLO c.test
    < 250
    > AUTH LOGIN ${base64('alice@example.test')}
    < 334 UGFzc3dvcmQ6
    > ${base64('wonderland')}
    < 235 2.7.0`)).then(() => {}))

test('failed AUTH is answered later each time, and ends the connection', async () => {
  const begun = performance.now()
  await submit(`> EHLO c.test\n< 250\n> AUTH PLAIN ${plain('alice@example.test', 'queen')}\n< 535 5.7.8\n> AUTH PLAIN ${plain('nobody', 'x')}\n< 421 4.7.0\n< closed`)
  assert.ok(performance.now() - begun >= 700)
  assert.equal(edge.ingress.counters.all()['auth.failed'], 2)
})

test('a sender is the user, or one of their addresses', async () => {
  const user = { name: 'alice@example.test', addresses: ['@alice.test', 'info@example.test'] }
  for (const own of ['', 'ALICE@example.TEST', 'any@alice.test', 'info@example.test']) assert.ok(ownsSender(user, own), own)
  for (const foreign of ['bob@example.test', 'x@sub.alice.test', 'x@notalice.test', 'alice@other.test']) assert.ok(!ownsSender(user, foreign), foreign)
  await submit(`${signedIn}> MAIL FROM:<bob@example.test>\n< 553 5.7.1\n> MAIL FROM:<x@alice.test>\n< 250`)
})

test('Date and Message-ID are added where they are missing, and nothing else is touched', async () => {
  const stored = async (body: string) => {
    const wire = `${`\r\n${body}`.replaceAll('\r\n.', '\r\n..').slice(2)}.\r\n`.replaceAll('\r', '\\r').replaceAll('\n', '\\n')
    const replies = await submit(`${signedIn}> MAIL FROM:<alice@example.test>\n< 250\n> RCPT TO:<r@example.test>\n< 250\n> DATA\n< 354\n>> ${wire}\n< 250`)
    return (await edge.stored(replies.at(-1)!)).body
  }
  const added = /^Date: \w{3}, .* \+0000\r\nMessage-ID: <\w{18}@mx\.example\.test>\r\n/
  const without = 'From: a@b.test\r\nSubject: x\r\n\r\nDate: in the body\r\n'
  assert.equal((await stored(without)).replace(added, ''), without)
  const withBoth = 'date: Thu, 01 Jan 1970 00:00:00 +0000\r\nMessage-Id: <x@y>\r\n\r\n.\r\n'
  assert.equal(await stored(withBoth), withBoth)
  const large = `Subject: x\r\n\r\n${`${'x'.repeat(900)}\r\n`.repeat(1000)}`
  assert.equal((await stored(large)).replace(added, ''), large)
  const at = (body: string) => Buffer.from(fieldsInFront(Buffer.from(body), 'ID', 'mx.test', new Date(0))).toString()
  assert.match(at('no header at all\r\n'), /^Date: .*\r\nMessage-ID: <ID@mx\.test>\r\n\r\n$/)
  assert.match(at(''), /Message-ID/)
  assert.equal(at('no field\r\nDate: x\r\nMessage-ID: <x@y>\r\n\r\n'), '', 'nothing is missing')
  assert.equal(at(`X: ${'x'.repeat(200_000)}`), '', 'a header section that does not end is left alone')
})

test("a mailbox's From line in front of the fields becomes one of them, on submission alone", async () => {
  const at = (body: string) => Buffer.from(fieldsInFront(Buffer.from(body), 'ID', 'mx.test', new Date(0))).toString()
  const both = 'Date: x\r\nMessage-ID: <x@y>\r\n\r\n'
  for (const line of ['From a@b.test Thu Jan  1 00:00:00 1970', '>From a@b.test', '>>From x']) {
    assert.equal(at(`${line}\r\n${both}`), 'X-Mailbox-Line: ')
    assert.match(at(`${line}\r\nSubject: x\r\n\r\n`), /^Date: .*\r\nMessage-ID: .*\r\nX-Mailbox-Line: $/)
  }
  assert.equal(at(`From : a@b.test\r\n${both}`), '', 'it is a field')
  assert.match(at('From here to there\r\nand back\r\n'), /\r\n\r\n$/, 'no field follows: it is text')
  const body = 'From a@b.test Thu Jan  1 00:00:00 1970\r\nSubject: x\r\n\r\nFrom me\r\n'
  const rest = `> RCPT TO:<r@example.test>\n< 250\n> DATA\n< 354\n>> ${body.replaceAll('\r', '\\r').replaceAll('\n', '\\n')}.\\r\\n\n< 250`
  const stored = async (replies: string[]) => (await edge.stored(replies.at(-1)!)).body
  const submitted = await stored(await submit(`${signedIn}> MAIL FROM:<alice@example.test>\n< 250\n${rest}`))
  assert.match(submitted, /^Date: .*\r\nMessage-ID: .*\r\nX-Mailbox-Line: From a@b\.test .*\r\nSubject: x\r\n\r\nFrom me\r\n$/)
  assert.equal(await stored(await dialogue(edge.port('smtp'), `> EHLO c.test\n< 250\n> MAIL FROM:<a@b.test>\n< 250\n${rest}`)), body, 'what is relayed stays as it came')
})

test('messages of a user in a minute are limited, wherever the user comes from', async () => {
  await addUser(edge.sql, 'busy@example.test', await hashPassword('x'), [])
  const busy = `> EHLO c.test\n< 250\n> AUTH PLAIN ${plain('busy@example.test', 'x')}\n< 235\n`
  await submit(`${busy}${'> MAIL FROM:<busy@example.test>\n< 250\n> RSET\n< 250\n'.repeat(12)}> MAIL FROM:<busy@example.test>\n< 450 4.7.1`)
  await submit(`${busy}> MAIL FROM:<busy@example.test>\n< 450 4.7.1`)
  await removeUser(edge.sql, 'busy@example.test')
})

test('by setting: AUTH in the clear, and any sender', async () => {
  const other = await testIngress({ users: [{ name: 'alice@example.test', passwordHash }], submission: { clearTextAuth: true, anySender: true, futureRelease: '0s' } })
  after(other.end)
  const [ehlo] = await dialogue(other.port('submission'), `
    > EHLO c.test
    <- AUTH PLAIN LOGIN
    > AUTH PLAIN ${plain('alice@example.test', 'wonderland')}
    < 235 2.7.0
    > MAIL FROM:<bob@elsewhere.test> HOLDFOR=1
    < 555 5.5.4
    > MAIL FROM:<bob@elsewhere.test>
    < 250 2.1.0`)
  assert.doesNotMatch(ehlo!, /FUTURERELEASE/)
})

test('STARTTLS and XCLIENT end a login: who speaks then has not signed in', async () => {
  const other = await testIngress({ users: [{ name: 'alice@example.test', passwordHash }], trustedProxies: ['127.0.0.1'], submission: { clearTextAuth: true } })
  after(other.end)
  for (const [command, mail] of [['NOOP', /^250/], ['STARTTLS', /^530 5\.7\.0/], ['XCLIENT ADDR=192.0.2.9', /^530 5\.7\.0/]] as const) {
    const client = openClient(other.port('submission'))
    await client.reply()
    const say = async (line: string) => {
      client.send(`${line}\r\n`)
      return await client.reply()
    }
    await say('EHLO c.test')
    assert.match(await say(`AUTH PLAIN ${plain('alice@example.test', 'wonderland')}`), /^235/)
    assert.match(await say(command), /^2[25]0/)
    if (command === 'STARTTLS') await client.startTls()
    await say('EHLO c.test')
    assert.match(await say('MAIL FROM:<alice@example.test>'), mail, command)
    client.close()
  }
})

test('users in Postgres: added, changed and removed, at once', async () => {
  const auth = (password: string, reply: string) => submit(`> EHLO c.test\n< 250\n> AUTH PLAIN ${plain('Carol@example.test', password)}\n< ${reply}`)
  assert.ok(await addUser(edge.sql, 'carol@example.test', await hashPassword('one'), ['@carol.test']))
  assert.ok(!(await addUser(edge.sql, 'CAROL@example.test', 'x', [])))
  assert.deepEqual((await listUsers(edge.sql)).map(({ name, addresses }) => [name, addresses]), [['carol@example.test', ['@carol.test']]])
  await auth('one', '235 2.7.0')
  assert.ok(await changePassword(edge.sql, 'carol@EXAMPLE.test', await hashPassword('two')))
  await auth('two', '235 2.7.0')
  assert.ok(await removeUser(edge.sql, 'Carol@example.test'))
  assert.ok(!(await removeUser(edge.sql, 'Carol@example.test')))
  await auth('two', '535 5.7.8')
})

test('who is connected sends no longer than they are a user, with the password and the addresses that they have now', async () => {
  const name = 'mallory@example.test'
  const connected = async () => {
    const client = openClient(edge.port('submissions'), { tls: true })
    assert.match(await client.reply(), /^220/)
    const say = async (line: string) => {
      client.send(`${line}\r\n`)
      return await client.reply()
    }
    await say('EHLO c.test')
    assert.match(await say(`AUTH PLAIN ${plain(name, 'one')}`), /^235/)
    const from = async (address: string) => {
      const answer = await say(`MAIL FROM:<${address}>`)
      if (answer.startsWith('250')) await say('RSET')
      return answer
    }
    return { from, client }
  }
  const beyondAnyCache = () => sleep(2100)
  await addUser(edge.sql, name, await hashPassword('one'), [])
  const [one, other] = [await connected(), await connected()]
  assert.match(await one.from(name), /^250/)
  assert.match(await one.from('info@mallory.test'), /^553 5\.7\.1/)
  await edge.sql`update users set addresses = '{@mallory.test}' where name = ${name}`
  await beyondAnyCache()
  assert.match(await one.from('info@mallory.test'), /^250/)

  await edge.sql`alter table users rename to users_away`
  await beyondAnyCache()
  assert.match(await one.from(name), /^451 4\.3\.0/)
  await edge.sql`alter table users_away rename to users`
  assert.match(await one.from(name), /^250/, 'a look that failed ends no session')

  assert.ok(await changePassword(edge.sql, name, await hashPassword('one')))
  await beyondAnyCache()
  assert.match(await one.from(name), /^421 4\.7\.0/)
  assert.equal(await one.client.reply(), 'closed')
  const third = await connected()
  assert.ok(await removeUser(edge.sql, name))
  await beyondAnyCache()
  for (const { from } of [other, third]) assert.match(await from(name), /^421 4\.7\.0/)
  for (const { client } of [one, other, third]) client.close()
})

test('FUTURERELEASE: the first attempt waits, and the lifetime counts from then', async () => {
  const other = await testIngress({ users: [{ name: 'alice@example.test', passwordHash }], submission: { futureRelease: '10d' } })
  after(other.end)
  const until = new Date(Math.floor(Date.now() / 1000) * 1000 + 7200_000).toISOString()
  for (const [parameter, seconds] of [['HOLDFOR=3600', 3600], [`HOLDUNTIL=${until}`, 7200]] as const) {
    const replies = await dialogue(other.port('submission'), `
      > EHLO c.test
      <- FUTURERELEASE 864000 2
      > AUTH PLAIN ${plain('alice@example.test', 'wonderland')}
      < 235
      > MAIL FROM:<alice@example.test> HOLDFOR=x
      < 501 5.5.4
      > MAIL FROM:<alice@example.test> HOLDFOR=900000
      < 554 5.5.4
      > MAIL FROM:<alice@example.test> HOLDFOR=1 HOLDUNTIL=${until}
      < 501 5.5.4
      > MAIL FROM:<alice@example.test> ${parameter}
      < 250 2.1.0
      > RCPT TO:<r@example.test>
      < 250
      > DATA
      < 354
      > Subject: later
      >
      > .
      < 250 2.0.0`, true)
    const { message, recipients } = await other.stored(replies.at(-1)!)
    assert.ok(Math.abs(recipients[0]!.nextAttemptAt.getTime() - message.acceptedAt.getTime() - seconds * 1000) < 5000)
    assert.equal(message.expiresAt.getTime() - recipients[0]!.nextAttemptAt.getTime(), 5 * 86_400_000)
  }
  await dialogue(other.port('smtp'), '> EHLO c.test\n< 250\n> MAIL FROM:<s@a.test> HOLDFOR=1\n< 555 5.5.4')
})

test('FUTURERELEASE: the time that EHLO names is one that MAIL takes, whatever the clock of this machine says', async () => {
  const now = Date.now()
  const ahead = mock.method(Date, 'now', () => now + 86_400_000)
  try {
    const [ehlo] = await submit(`> EHLO c.test\n< 250\n`)
    await submit(`${signedIn}> MAIL FROM:<alice@example.test> HOLDUNTIL=${/FUTURERELEASE 864000 (\S+)/.exec(ehlo!)![1]}\n< 250 2.1.0`)
  } finally {
    ahead.mock.restore()
  }
})
