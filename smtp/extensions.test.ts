// Each extension is used only where it is offered, and what cannot be sent without one comes back with the code of its RFC.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { receivedField, returnPathField } from '../mail/trace.ts'
import { createDns } from './dns.ts'
import { createPool } from './pool.ts'
import { survey } from './survey.ts'
import { recipientsOf, type Script, startPeer, testBody, testRequest } from './testing.ts'
import { startDnsServer } from './testing-dns.ts'
import { plainTls } from './tls.ts'
import { transfer, type TransferRequest } from './transfer.ts'

const dns = createDns({ servers: [], timeout: 1000 })
const pool = createPool({ idle: 0, age: 0, messages: 1, connections: 1 })
const envelope = testRequest(0).envelope
const one = recipientsOf('a@x.test')
const text = (body: string | Buffer) => async function* () { yield Buffer.from(body) }

async function run(script: Script, change: Partial<TransferRequest>) {
  const peer = await startPeer(script)
  try {
    const result = await transfer(testRequest(peer.port, { recipients: one, ...change }), { dns, pool })
    return { brief: Object.values(result.outcomes).map(({ status, enhanced }) => `${status} ${enhanced}`), result, peer, mail: peer.commands.find((line) => line.startsWith('MAIL')) }
  } finally {
    await peer.close()
  }
}

test('DSN (RFC 3461): each recipient has its own NOTIFY and ORCPT, the message its RET and ENVID; the outcome says who reports', async () => {
  const change: Partial<TransferRequest> = {
    envelope: { ...envelope, ret: 'HDRS', envid: 'QQ+2B314' },
    recipients: [
      { n: 0, forwardPath: 'a@x.test', notify: ['SUCCESS', 'DELAY'], orcpt: 'rfc822;first@a.test' },
      { n: 1, forwardPath: 'b@x.test', notify: ['NEVER'], orcpt: null },
      { n: 2, forwardPath: 'c@x.test', notify: [], orcpt: 'utf-8;ü@a.test' },
    ],
  }
  const offered = await run({ extensions: ['DSN'] }, change)
  assert.deepEqual(offered.peer.commands.slice(1, 5), [
    'MAIL FROM:<s@a.test> RET=HDRS ENVID=QQ+2B314',
    'RCPT TO:<a@x.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first@a.test',
    'RCPT TO:<b@x.test> NOTIFY=NEVER',
    'RCPT TO:<c@x.test> ORCPT=utf-8;\\x{FC}@a.test',
  ])
  assert.equal(offered.result.outcomes[0]?.dsnPassedOn, true)
  const utf8 = await run({ extensions: ['DSN', 'SMTPUTF8'] }, { ...change, envelope: { ...envelope, smtpUtf8: true } })
  assert.equal(Buffer.from(utf8.peer.commands[4]!, 'latin1').toString(), 'RCPT TO:<c@x.test> ORCPT=utf-8;ü@a.test')
  const not = await run({}, change)
  assert.deepEqual(not.peer.commands.slice(1, 3), ['MAIL FROM:<s@a.test>', 'RCPT TO:<a@x.test>'])
  assert.equal(not.result.outcomes[0]?.dsnPassedOn, false)
})

test('8BITMIME (RFC 6152): declared where offered; without it only what is 7-bit in truth goes out, or was not declared', async () => {
  const eight = { envelope: { ...envelope, body: '8BITMIME' as const } }
  assert.equal((await run({ extensions: ['8BITMIME'] }, eight)).mail, 'MAIL FROM:<s@a.test> BODY=8BITMIME')
  const seven = await run({}, eight)
  assert.deepEqual([seven.brief, seven.mail], [['delivered 2.0.0'], 'MAIL FROM:<s@a.test>'])
  const refused = await run({}, { ...eight, content: text('Subject: x\r\n\r\nschön\r\n') })
  assert.deepEqual([refused.brief, refused.mail, refused.result.dotSent], [['bounced 5.6.3'], undefined, false])
  const undeclared = { envelope: { ...envelope, body: '8BIT' as const }, content: text('Subject: größer\r\n\r\nschön\r\n') }
  assert.equal((await run({ extensions: ['8BITMIME'] }, undeclared)).mail, 'MAIL FROM:<s@a.test> BODY=8BITMIME')
  for (const script of [{}, { ehlo: '500 5.5.1 what' }]) {
    const { brief, mail, peer } = await run(script, undeclared)
    assert.deepEqual([brief, mail, peer.messages], [['delivered 2.0.0'], 'MAIL FROM:<s@a.test>', [Buffer.from('Subject: größer\r\n\r\nschön\r\n').toString('latin1')]])
  }
})

test('BINARYMIME and CHUNKING (RFC 3030): octets as they are, in chunks, or 5.6.3', async () => {
  const octets = Buffer.from('Subject: x\r\n\r\n\0\n.\r.\r\n.\r\n no end')
  const binary = { envelope: { ...envelope, body: 'BINARYMIME' as const }, size: octets.length }
  const content = async function* () {
    yield octets.subarray(0, 17)
    yield octets.subarray(17)
  }
  for (const extensions of [['CHUNKING', 'BINARYMIME', '8BITMIME'], ['CHUNKING', 'BINARYMIME', 'PIPELINING']]) {
    const sent = await run({ extensions }, { ...binary, content })
    assert.deepEqual([sent.brief, sent.mail, sent.peer.messages], [['delivered 2.0.0'], 'MAIL FROM:<s@a.test> BODY=BINARYMIME', [octets.toString('latin1')]])
    assert.deepEqual(sent.peer.commands.slice(3, 6), ['BDAT 17', `BDAT ${octets.length - 17}`, 'BDAT 0 LAST'])
  }
  for (const extensions of [[], ['CHUNKING'], ['BINARYMIME', '8BITMIME']]) {
    assert.deepEqual((await run({ extensions }, { ...binary, content })).brief, ['bounced 5.6.3'])
  }
  const text8 = await run({ extensions: ['8BITMIME'] }, { ...binary, content: text('Subject: x\r\n\r\nschön\r\n') })
  assert.deepEqual([text8.brief, text8.mail], [['delivered 2.0.0'], 'MAIL FROM:<s@a.test> BODY=8BITMIME'])
  const full = await run({ extensions: ['CHUNKING', 'BINARYMIME'], bdat: '452 4.3.1 no room' }, { ...binary, content })
  assert.deepEqual([full.brief, full.result.dotSent], [['deferred 4.3.1'], false])
})

test('SMTPUTF8 (RFC 6531): with it addresses go as they are; without it A-labels, else 5.6.7', async () => {
  const utf8 = { envelope: { ...envelope, smtpUtf8: true } }
  const offered = await run({ extensions: ['SMTPUTF8', '8BITMIME'] }, { ...utf8, recipients: recipientsOf('jörg@bücher.test') })
  assert.deepEqual(offered.peer.commands.slice(1, 3).map((line) => Buffer.from(line, 'latin1').toString()), ['MAIL FROM:<s@a.test> SMTPUTF8', 'RCPT TO:<jörg@bücher.test>'])
  const domain = await run({}, { ...utf8, recipients: recipientsOf('jorg@bücher.test') })
  assert.deepEqual([domain.brief, domain.peer.commands[2]], [['delivered 2.0.0'], 'RCPT TO:<jorg@xn--bcher-kva.test>'])
  // What we write above the message does not make it any less deliverable.
  const origin = { protocol: 'UTF8SMTP', helo: 'c.test', clientAddress: '::1', clientName: null, tls: null, user: null } as const
  const ours = `${returnPathField('jorg@bücher.test')}${receivedField({ id: 'ID', origin, recipients: ['jorg@bücher.test'], acceptedAt: new Date(0) }, 'mx.example.test')}`
  const traced = await run({}, { ...utf8, protocol: 'lmtp', recipients: recipientsOf('jorg@bücher.test'), content: text(`${ours}${testBody}`) })
  assert.deepEqual(traced.brief, ['delivered 2.0.0'])
  assert.match(traced.peer.messages[0]!, /^Return-Path: <jorg@xn--bcher-kva\.test>\r\nReceived: [^;]*\tfor <jorg@xn--bcher-kva\.test>;/)
  assert.deepEqual((await run({}, { ...utf8, recipients: recipientsOf('jörg@x.test', 'b@x.test') })).brief, ['bounced 5.6.7', 'delivered 2.0.0'])
  assert.deepEqual((await run({}, { envelope: { ...utf8.envelope, reversePath: 'jörg@x.test' } })).brief, ['bounced 5.6.7'])
  const header = await run({ extensions: ['8BITMIME'] }, { ...utf8, content: text('Subject: schön\r\n\r\nx\r\n') })
  assert.deepEqual([header.brief, header.mail], [['bounced 5.6.7'], undefined])
  assert.deepEqual((await run({ extensions: ['8BITMIME'] }, { ...utf8, content: text('Subject: x\r\n\r\nschön\r\n') })).brief, ['delivered 2.0.0'])
})

test('SIZE (RFC 1870): stated, and a message that is too large is not sent', async () => {
  assert.match((await run({ extensions: ['SIZE'] }, {})).mail!, / SIZE=\d+$/)
  const refused = await run({ extensions: ['SIZE 10'] }, {})
  assert.deepEqual([refused.brief, refused.mail], [['bounced 5.3.4'], undefined])
  assert.deepEqual([refused.result.tries[0]!.phase, refused.result.outcomes[0]!.host], ['mail', '127.0.0.1'])
  for (const most of ['0', String(testBody.length), 'x']) assert.deepEqual((await run({ extensions: [`SIZE ${most}`] }, {})).brief, ['delivered 2.0.0'], most)
})

test('REQUIRETLS (RFC 8689): without STARTTLS nothing is sent, and it comes back with 5.7.30', async () => {
  const change: Partial<TransferRequest> = { envelope: { ...envelope, requireTls: true }, tls: async () => plainTls('verify') }
  const clear = await run({ starttls: '502 5.5.1 no', extensions: ['REQUIRETLS'] }, change)
  assert.deepEqual([clear.brief, clear.mail], [['bounced 5.7.30'], undefined])
  const lost = await run({ starttls: 'close' }, change)
  assert.deepEqual(lost.brief, ['deferred 4.7.5'])
  // By LMTP, whose way the operator chose, it needs nothing, and is passed on where it is offered.
  const lmtp = { ...change, protocol: 'lmtp', tls: async () => plainTls('none') } as const
  assert.deepEqual([(await run({}, lmtp)).mail, (await run({ extensions: ['REQUIRETLS'] }, lmtp)).mail], ['MAIL FROM:<s@a.test>', 'MAIL FROM:<s@a.test> REQUIRETLS'])
})

test('what one host cannot do another may: nothing bounces before all hosts that can be reached have said so', async () => {
  const server = await startDnsServer({ 'seven.test/A': ['127.0.0.2'], 'eight.test/A': ['127.0.0.3'], 'down.test/A': ['127.0.0.4'], 'never.test/A': ['127.0.0.5'] })
  const seven = await startPeer({}, '127.0.0.2')
  const eight = await startPeer({ extensions: ['8BITMIME', 'SMTPUTF8'] }, '127.0.0.3', seven.port)
  const never = await startPeer({ greeting: '521 5.3.2 no mail here' }, '127.0.0.5', seven.port)
  const change = { envelope: { ...envelope, body: '8BITMIME' as const }, content: text('Subject: x\r\n\r\nschön\r\n'), recipients: one }
  const statusBy = async (...hosts: string[]) =>
    (await transfer(testRequest(seven.port, { ...change, hosts }), { dns: createDns({ servers: [server.server], timeout: 500 }), pool })).outcomes[0]!.status
  try {
    assert.equal(await statusBy('seven.test', 'eight.test'), 'delivered')
    assert.equal(await statusBy('down.test', 'seven.test'), 'deferred')
    assert.equal(await statusBy('seven.test', 'down.test'), 'deferred')
    assert.equal(await statusBy('seven.test'), 'bounced')
    assert.deepEqual([await statusBy('never.test', 'eight.test'), await statusBy('never.test')], ['delivered', 'bounced'])
    // The same where it is one of several recipients whose address a host cannot take.
    const hosts = ['seven.test', 'eight.test']
    const request = testRequest(seven.port, { hosts, envelope: { ...envelope, smtpUtf8: true }, recipients: recipientsOf('jörg@x.test', 'b@x.test') })
    const { outcomes } = await transfer(request, { dns: createDns({ servers: [server.server], timeout: 500 }), pool })
    assert.deepEqual([0, 1].map((n) => [outcomes[n]!.status, outcomes[n]!.host]), [['delivered', 'eight.test'], ['delivered', 'seven.test']])
    assert.deepEqual(seven.commands.filter((line) => line.startsWith('RCPT')), ['RCPT TO:<b@x.test>'])
  } finally {
    await Promise.all([seven.close(), eight.close(), never.close(), server.close()])
  }
})

test('no control character reaches a command line', async () => {
  const { brief, peer } = await run({ extensions: ['DSN'] }, {
    recipients: [
      { n: 0, forwardPath: 'a@x.test>\r\nRCPT TO:<evil@x.test', notify: [], orcpt: null },
      { n: 1, forwardPath: 'b@x.test', notify: [], orcpt: 'rfc822;b\r\nRSET' },
    ],
    envelope: { ...envelope, envid: 'x\r\nQUIT' },
  })
  const sender = await run({}, { envelope: { ...envelope, reversePath: 's@a.test>\r\nRCPT TO:<evil@x.test' } })
  assert.deepEqual([sender.brief, sender.mail], [['bounced 5.1.7'], undefined])
  assert.deepEqual(brief, ['bounced 5.1.3', 'delivered 2.0.0'])
  assert.deepEqual(peer.commands.slice(1, 4), ['MAIL FROM:<s@a.test>', 'RCPT TO:<b@x.test>', 'DATA'])
})

test('a survey does not depend on chunk borders, and finds what a look at the whole finds', async () => {
  const piece = fc.constantFrom('\r\n', '\r', '\n', 'a', 'ü', '\0', 'x'.repeat(998), '\r\n\r\n')
  await fc.assert(fc.asyncProperty(fc.array(piece, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1 }), async (pieces, cuts) => {
    const whole = Buffer.from(pieces.join(''))
    const found = await survey((async function* () {
      for (let from = 0, i = 0; from < whole.length; from += cuts[i++ % cuts.length]!) yield whole.subarray(from, from + cuts[i % cuts.length]!)
    })())
    const latin1 = whole.toString('latin1')
    const header = latin1.startsWith('\r\n') ? '' : latin1.split('\r\n\r\n')[0]!
    const rest = latin1.replaceAll('\r\n', '\n')
    const binary = /[\r\0]/.test(rest) || latin1.replaceAll('\r\n', '').includes('\n') || rest.split('\n').some((line) => line.length > 998) || (latin1 !== '' && !latin1.endsWith('\r\n'))
    if (!binary) assert.deepEqual(found, { eightBit: /[\x80-\xff]/.test(latin1), eightBitHeader: /[\x80-\xff]/.test(header), binary })
    else assert.equal(found.binary, true)
  }))
})
