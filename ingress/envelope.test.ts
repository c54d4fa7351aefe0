import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { dialogue, testIngress } from './testing.ts'

const edge = await testIngress({ limits: { messageSize: '1MiB', recipients: 3 }, relayNetworks: ['127.0.0.1'] })
after(edge.end)

const ehlo = '> EHLO c.test\n< 250\n'
const envelope = `${ehlo}> MAIL FROM:<s@a.test>\n< 250 2.1.0\n> RCPT TO:<r@example.test>\n< 250 2.1.5\n`

test('EHLO offers what is honoured, and under TLS other things', async () => {
  const words = async (tls: boolean) => (await dialogue(edge.port('smtp'), '> EHLO c.test\n< 250', tls))[0]!.split('\n').slice(1).map((line) => line.slice(4))
  const always = ['PIPELINING', 'SIZE 1048576', '8BITMIME', 'SMTPUTF8', 'ENHANCEDSTATUSCODES', 'DSN', 'CHUNKING', 'BINARYMIME', 'LIMITS RCPTMAX=3']
  assert.deepEqual(await words(false), [...always, 'STARTTLS', 'XVERP'])
  assert.deepEqual(await words(true), [...always, 'REQUIRETLS', 'XVERP'])
})

test('the envelope is kept as it was said: DSN parameters by recipient, duplicates with their own wishes, REQUIRETLS, SMTPUTF8', async () => {
  const replies = await dialogue(edge.port('smtp'), `
    ${ehlo}
    > MAIL FROM:<s@a.test> BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=FULL ENVID=a+2Bb
    > RCPT TO:<"a b"@example.test> NOTIFY=NEVER ORCPT=rfc822;one@x.test
    > RCPT TO:<"a b"@example.test> NOTIFY=SUCCESS,DELAY
    > RCPT TO:<"a b"@example.test> NOTIFY=NEVER ORCPT=rfc822;one@x.test
    > DATA
    < 250 2.1.0
    < 250 2.1.5
    < 250 2.1.5
    < 250 2.1.5
    < 354
    > Subject: \xc3\xa9
    > .
    < 250 2.0.0 Ok: queued as`, true)
  const { message, recipients } = await edge.stored(replies.at(-1)!)
  assert.deepEqual([message.bodyType, message.smtpUtf8, message.requireTls, message.ret, message.envid], ['8BITMIME', true, true, 'FULL', 'a+2Bb'])
  assert.equal(message.origin.protocol, 'UTF8SMTPS')
  assert.deepEqual(recipients.map(({ forwardPath, notify, orcpt }) => [forwardPath, notify, orcpt]), [
    ['"a b"@example.test', ['NEVER'], 'rfc822;one@x.test'],
    ['"a b"@example.test', ['SUCCESS', 'DELAY'], null],
  ])
})

test('REQUIRETLS needs TLS', async () => void await dialogue(edge.port('smtp'), `${ehlo}> MAIL FROM:<s@a.test> REQUIRETLS\n< 530 5.7.10`))

test('A-labels, case and source routes: the address is kept as it was sent, without its route', async () => {
  const replies = await dialogue(edge.port('smtp'), `
    ${ehlo}
    > MAIL FROM:<S@XN--BCHER-KVA.example>
    > RCPT TO:<@a.test:R@Example.TEST>
    > DATA
    < 250 2.1.0
    < 250 2.1.5
    < 354
    > .
    < 250 2.0.0`)
  const { message, recipients } = await edge.stored(replies.at(-1)!)
  assert.deepEqual([message.reversePath, recipients[0]!.forwardPath], ['S@XN--BCHER-KVA.example', 'R@Example.TEST'])
})

test('octets above 127 that nobody declared are noted, apart from what was declared', async () => {
  const replies = await dialogue(edge.port('smtp'), `${envelope}> DATA\n< 354\n> Subject: \xe9\n> .\n< 250`)
  assert.equal((await edge.stored(replies.at(-1)!)).message.bodyType, '8BIT')
})

test('a name that is none is kept as text that can be shown', async () => {
  const replies = await dialogue(edge.port('smtp'), `${envelope.replace('c.test', '(M\xdcLLER \x9b2J\u00e2\u0080)')}> DATA\n< 354\n> .\n< 250`)
  assert.equal((await edge.stored(replies.at(-1)!)).message.origin.helo, '(MÜLLER ?2Jâ?)')
})

test('BDAT keeps every octet', async () => {
  const replies = await dialogue(edge.port('smtp'), `${ehlo}
    > MAIL FROM:<s@a.test> BODY=BINARYMIME
    < 250
    > RCPT TO:<r@example.test>
    < 250
    >> BDAT 8\\r\\n\\r\\n.\\r\\n\\n\\0.BDAT 2 LAST\\r\\n..
    < 250 2.0.0 8
    < 250 2.0.0 Ok`)
  const { message, body } = await edge.stored(replies.at(-1)!)
  assert.deepEqual([message.bodyType, body], ['BINARYMIME', '\r\n.\r\n\n\0...'])
})

test('LMTP: DATA and BDAT without an accepted recipient are 503, refused ones or none', async () => {
  for (const recipient of ['', '> RCPT TO:<r@[300.1.1.1]>\n< 501 5.1.3\n']) {
    await dialogue(edge.port('lmtp'), `> LHLO c.test\n< 250\n> MAIL FROM:<s@a.test>\n< 250\n${recipient}> DATA\n< 503 5.5.1\n> BDAT 2 LAST\n>> \\r\\n\n< 503 5.5.1`)
  }
})

test('LMTP: LHLO alone introduces, and each accepted recipient has its reply', async () => {
  const replies = await dialogue(edge.port('lmtp'), `
    > EHLO c.test
    < 500 5.5.1
    > LHLO c.test
    <- PIPELINING
    > MAIL FROM:<s@a.test>
    > RCPT TO:<r@example.test>
    > RCPT TO:<r@[300.1.1.1]>
    > RCPT TO:<r@example.test>
    > RCPT TO:<R@example.test>
    > DATA
    < 250 2.1.0
    < 250 2.1.5
    < 501 5.1.3
    < 250 2.1.5
    < 250 2.1.5
    < 354
    > Subject: x
    > .
    > QUIT
    < 250 2.0.0 Ok: queued as
    < 250 2.0.0 Ok: queued as
    < 250 2.0.0 Ok: queued as
    < 221 2.0.0`)
  const { message, recipients } = await edge.stored(replies.at(-2)!)
  assert.equal(message.origin.protocol, 'LMTP')
  assert.deepEqual(recipients.map((recipient) => recipient.forwardPath), ['r@example.test', 'R@example.test'])
})
