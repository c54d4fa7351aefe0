import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bounceParser, readReport } from '../test/support/bounce-parser.ts'
import { composeReport, type Report, type ReportRecipient } from './dsn.ts'
import { withHeadersOnly } from './dsn-shorter.ts'
import { makeReply } from './reply.ts'
import { textsFor } from './report-texts.ts'

const parser = await bounceParser()
const skip = typeof parser === 'string' ? parser : false

function octetsOf(report: Report, body = ''): Buffer {
  const { head, tail } = composeReport(report)
  return Buffer.concat([head, Buffer.from(body, 'latin1'), tail])
}

function read(report: Report) {
  const octets = octetsOf(report)
  assert.ok(octets.every((octet) => octet < 128), '7-bit throughout')
  const parsed = readReport(octets)
  assert.deepEqual(parsed.defects, [])
  return parsed
}

const recipient: ReportRecipient = {
  forwardPath: 'r@b.test', orcpt: 'rfc822;R+2Bx@b.test', action: 'failed', status: '5.1.1', expired: false, remoteHost: 'mx.b.test',
  reply: makeReply(550, ['5.1.1 no\0such\r', `5.1.1 user Status: 2.0.0 ${'long '.repeat(60)}`]), text: 'said: no', lastAttemptAt: new Date(500), willRetryUntil: null,
}

const report: Report = {
  event: 'failed', toPostmaster: false, id: 'ID1', dsnId: 'ID2', hostname: 'mx.example.test', to: 's@a.test', envid: 'a+2Bb', arrivedAt: new Date(0), at: new Date(1000),
  triedUntil: new Date(432_000_000), receivedFrom: 'client.test', recipients: [recipient], original: Buffer.from('Message-ID:\r\n\t<m@a.test>\r\nSubject: x\r\n'),
  full: null, smtpUtf8: false, texts: textsFor('en', {}),
}

test('a failure report is a multipart/report that another reader understands, field by field', () => {
  const found = read(report)
  assert.deepEqual([found.type, found.report, found.headers['Auto-Submitted'], found.headers['To']], ['multipart/report', 'delivery-status', 'auto-replied', 's@a.test'])
  assert.deepEqual([found.headers['In-Reply-To'], found.headers['References']], ['<m@a.test>', '<m@a.test>'])
  assert.deepEqual(found.types, ['text/plain', 'message/delivery-status', 'text/rfc822-headers'])
  const [message, group] = found.groups
  assert.deepEqual([message!['Reporting-MTA'], message!['Original-Envelope-Id'], message!['Received-From-MTA']], ['dns; mx.example.test', 'a+b', 'dns; client.test'])
  assert.equal(message!['Arrival-Date'], 'Thu, 01 Jan 1970 00:00:00 +0000')
  assert.deepEqual([group!['Original-Recipient'], group!['Final-Recipient']], ['rfc822; R+x@b.test', 'rfc822; r@b.test'])
  assert.deepEqual([group!['Action'], group!['Status'], group!['Remote-MTA']], ['failed', '5.1.1', 'dns; mx.b.test'])
  assert.match(group!['Diagnostic-Code']!, /^smtp; 550 5\.1\.1 no\?such\? user Status: 2\.0\.0 long/)
  assert.equal(group!['Last-Attempt-Date'], 'Thu, 01 Jan 1970 00:00:00 +0000')
  assert.equal(found.groups.length, 2)
  assert.match(found.returned, /Subject: x/)
  assert.match(found.text, /<r@b\.test>\r\n {4}said: no\r\n {4}Check the address/)
})

test('an address of any length that RFC 5321 allows comes back in one piece, and a host name of any length breaks nothing', () => {
  const long = `${'l'.repeat(64)}@${['d', 'e', 'f', 'g'].map((letter) => letter.repeat(60)).join('.')}.test`
  const hostname = `${'h'.repeat(60)}.${'i'.repeat(60)}.test`
  const orcpt = `rfc822;${'o'.repeat(480)}@b.test`
  const [, group] = read({ ...report, hostname, recipients: [{ ...recipient, forwardPath: long, orcpt }] }).groups
  assert.deepEqual([group!['Final-Recipient'], group!['Original-Recipient']], [`rfc822; ${long}`, orcpt.replace(';', '; ')])
  assert.ok(/boundary="([^"]*)"/.exec(octetsOf({ ...report, hostname }).toString())![1]!.length <= 70)
  const wide = octetsOf({ ...report, smtpUtf8: true, recipients: [{ ...recipient, forwardPath: `${'ü'.repeat(32)}@${'ü'.repeat(120)}.test`, text: '\u{10000}'.repeat(1500), reply: null }] })
  assert.match(wide.toString(), /^ +ü{32}@ü{120}\.test\r\n/m)
  assert.ok(wide.toString().split('\r\n').every((line) => Buffer.byteLength(line) <= 998))
})

test('flufl.bounce finds who failed for good, and who may not have', { skip }, () => {
  const parse = parser as Exclude<typeof parser, string>
  const recipients = [recipient, { ...recipient, forwardPath: 'also@b.test', orcpt: null }]
  assert.deepEqual(parse(octetsOf({ ...report, recipients })).permanent, ['R+x@b.test', 'also@b.test'])
  const delayed = { ...recipient, orcpt: null, action: 'delayed' as const, status: '4.4.1' }
  assert.deepEqual(parse(octetsOf({ ...report, event: 'delayed', recipients: [delayed] })), { temporary: ['r@b.test'], permanent: [] })
  assert.deepEqual(parse(octetsOf({ ...report, event: 'succeeded', recipients: [{ ...delayed, action: 'delivered', status: '2.0.0' }] })), { temporary: [], permanent: [] })
})

test('8-bit headers of the original come back as they were', () => {
  const original = Buffer.from('Subject: \xe9\r\n', 'latin1')
  assert.equal(read({ ...report, original }).returned, 'Subject: \xe9\r\n')
  // What is no UTF-8 has no place in message/global-headers.
  const global = readReport(octetsOf({ ...report, smtpUtf8: true, original, recipients: [{ ...recipient, forwardPath: 'jürgen@b.test' }] }))
  assert.deepEqual([global.types[1], global.types[2], global.returned], ['message/global-delivery-status', 'text/rfc822-headers', 'Subject: \xe9\r\n'])
})

test('nothing that a client or a host said adds a field to the report, or makes it fail', () => {
  const hostile = {
    ...recipient, forwardPath: 'a\u202eb@b.test', orcpt: 'utf-8;\\x{1F600}\\x{110000}\\x{D800}\\x{0D}\\x{0A}X:+0D+0AX:@b.test', remoteHost: 'mx\nX: y', reply: null, text: 'nö\nX: \u202ey',
  }
  for (const smtpUtf8 of [false, true]) {
    const octets = octetsOf({ ...report, smtpUtf8, to: 'jürgen@a.test', envid: 'a+0AX:+20y+0D+0AX:', receivedFrom: 'c\nX: y', recipients: [hostile] })
    assert.doesNotMatch(octets.toString(), /^X:|\r(?!\n)|(?<!\r)\n/m)
    const { headers, groups, text } = readReport(octets)
    assert.deepEqual([groups.length, headers['To']], [2, smtpUtf8 ? 'jürgen@a.test' : 'undisclosed-recipients:;'])
    assert.equal(groups[1]!['Original-Recipient'], `utf-8; ${smtpUtf8 ? '\u{1f600}?\ufffd? ' : '\\x{1F600}\\x{110000}\\x{D800}\\x{0D}\\x{0A}'}X:? X:@b.test`)
    assert.equal(groups[1]!['Diagnostic-Code'], smtpUtf8 ? 'X-Everpost; nö X: ?y' : 'X-Everpost; n? X: ?y')
    assert.match(text, /<a\?b@b\.test>\r\n {4}nö X: \?y\r\n/)
  }
  for (const to of ['s@a.test>\r\nX: y', 's s@a.test', 'é\u0085@a.test']) {
    for (const smtpUtf8 of [false, true]) assert.match(octetsOf({ ...report, smtpUtf8, to }).toString(), /\r\nTo: undisclosed-recipients:;\r\n/, to)
  }
})

test('header fields that are no lines come back in base64, so that no octet of them can end the report on its way', () => {
  for (const smuggled of ['X: y\n.\nMAIL FROM:<x@a.test>\r\n', 'X: y\r.\rQUIT\r\n', 'X: \0\r\n', 'X: y\n.\r\n', 'X: y\r\n.\n', `X: ${'y'.repeat(996)}\r\n`]) {
    for (const [original, smtpUtf8] of [[smuggled, false], [`Subject: Grüße\r\n${smuggled}`, true]] as const) {
      const octets = octetsOf({ ...report, smtpUtf8, original: Buffer.from(original) })
      assert.doesNotMatch(octets.toString('latin1'), /\0|\r(?!\n)|(?<!\r)\n/, JSON.stringify(original))
      const found = readReport(octets)
      assert.deepEqual([found.types[2], found.encodings[2]], ['text/rfc822-headers', 'base64'])
      assert.equal(Buffer.from(found.returned, 'latin1').toString('utf8'), original)
    }
  }
})

test('each event says plainly what happened, and an expiry that it is no failure of the address', () => {
  const text = (change: Partial<Report>, of: Partial<ReportRecipient> = {}) => read({ ...report, ...change, recipients: [{ ...recipient, ...of }] }).text.replace(/\s+/g, ' ')
  assert.match(text({ event: 'delayed' }, { action: 'delayed', status: '4.4.1' }), /has not been delivered .* You need not do anything: it is tried again until Tue, 06 Jan 1970/)
  const expired = text({ at: new Date(432_000_000) }, { expired: true, status: '4.4.7' })
  assert.match(expired, /tried for 5 d and not taken; the address may well be right\. The last answer was: said: no You may send it again later/)
  assert.match(text({ at: new Date(86_399_000) }, { expired: true }), /tried for 1 d and/)
  assert.match(text({ at: new Date(100) }, { expired: true }), /tried for 1 s and/)
  assert.match(text({ toPostmaster: true }), /Nobody else is told\. <r@b\.test> said: no For help/)
  assert.match(text({ event: 'succeeded' }, { action: 'relayed', status: '2.0.0' }), /As you asked.* handed to a mail system that sends no delivery reports/)
  assert.match(text({}, { status: '5.2.2' }), /mailbox is full/)
  assert.match(text({}, { status: '5.1.10' }), /takes no mail at all/)
  assert.ok(read(report).text.split('\r\n').every((line) => line.length <= 72), 'lines as people read them')
  const german = read({ ...report, texts: textsFor('de', { help: 'Fragen: hilfe@a.test, {id} {x}', advice: { '5.1': 'Anders.' } }) })
  assert.match(german.text, /nicht\s+zugestellt werden/)
  assert.match(german.text, /Anders\.[\s\S]*Fragen: hilfe@a\.test, ID1 \{x\}/)
  assert.equal(german.headers['Subject'], 'Unzustellbare Nachricht zurück an den Absender')
  // RFC 2047 section 2: no line with an encoded word is longer than 76 characters, in any script.
  for (const subjectFailed of ['ä'.repeat(50), '\u{1f600}'.repeat(50)]) {
    const octets = octetsOf({ ...report, texts: textsFor('en', { subjectFailed }) })
    assert.equal(readReport(octets).headers['Subject'], subjectFailed)
    assert.deepEqual(octets.toString().split('\r\n').filter((line) => line.includes('=?') && line.length > 76), [])
  }
})

test('what is internationalised goes in the global types, and in ASCII when ASCII will do', () => {
  const recipients = [{ ...recipient, forwardPath: 'jürgen@bücher.test', orcpt: 'utf-8;j\\x{FC}rgen@b\\x{FC}cher.test' }]
  const octets = octetsOf({ ...report, smtpUtf8: true, recipients, original: Buffer.from('Subject: Grüße\r\n') })
  const composed = composeReport({ ...report, smtpUtf8: true, recipients })
  assert.deepEqual([composed.smtpUtf8, composed.body], [true, '8BITMIME'])
  const found = readReport(octets)
  assert.deepEqual(found.types, ['text/plain', 'message/global-delivery-status', 'message/global-headers'])
  assert.deepEqual(found.encodings.slice(1), ['8bit', '8bit'])
  assert.equal(found.groups[1]!['Final-Recipient'], 'utf-8; jürgen@bücher.test')
  assert.equal(found.groups[1]!['Original-Recipient'], 'utf-8; jürgen@bücher.test')
  assert.match(Buffer.from(found.returned, 'latin1').toString('utf8'), /Subject: Grüße/)

  assert.equal(composeReport({ ...report, smtpUtf8: true, to: 'jürgen@a.test' }).smtpUtf8, true)
  const plain = read({ ...report, smtpUtf8: false, recipients })
  assert.equal(plain.groups[1]!['Final-Recipient'], 'utf-8; j\\x{FC}rgen@b\\x{FC}cher.test')
  assert.deepEqual(read({ ...report, smtpUtf8: true }).types[1], 'message/delivery-status')
})

test('a message returned in full comes back octet for octet', () => {
  const body = 'Received: x\r\nSubject: x\r\n\r\nHello \xe9.\r\n'
  const found = readReport(octetsOf({ ...report, full: { eightBit: true } }, body))
  assert.deepEqual([found.types[2], found.encodings[2], found.headers['Content-Transfer-Encoding']], ['message/rfc822', '8bit', '8bit'])
  assert.equal(found.returned, `${body}\r\n`)
  assert.deepEqual(found.defects, [])
})

test('a report that returned the whole is made again with header fields alone, as if it had never been longer', async () => {
  const recipients = [{ ...recipient, forwardPath: 'jürgen@bücher.test' }]
  for (const [header, body, change] of [
    ['Message-ID: <m@a.test>\r\nSubject: x\r\n', '\r\nHello ä.\r\n', {}],
    ['Subject: Grüße\r\n', '\r\nHello.\r\n', {}],
    ['Subject: Grüße\r\n', `\r\n${'x'.repeat(70)}\r\n`.repeat(2000), { smtpUtf8: true, recipients }],
    [`Subject: x\r\n${'X: longer than a piece\r\n'.repeat(35)}`, '\r\nHello.\r\n', {}],
    ['Subject: without a body\r\n', '', {}],
    ['Subject: without a line end', '', {}],
  ] as const) {
    for (const eightBit of [true, false]) {
      const original = Buffer.from(header)
      const { head, tail } = composeReport({ ...report, ...change, recipients: [...recipients], original, full: { eightBit } } as Report)
      const whole = Buffer.concat([head, original, Buffer.from(body), tail])
      const pieces = async function* () { for (let from = 0; from < whole.length; from += 700) yield whole.subarray(from, from + 700) }
      const shorter = (await withHeadersOnly(pieces(), report.dsnId, 1024))!
      const never = composeReport({ ...report, ...change, recipients: [...recipients], original: header.endsWith('\n') ? original : Buffer.from(`${header}\r\n`) } as Report)
      assert.deepEqual([shorter.body, shorter.smtpUtf8], [never.body, never.smtpUtf8])
      assert.equal(Buffer.from(shorter.head).toString(), Buffer.concat([never.head, never.tail]).toString())
      assert.equal(await withHeadersOnly((async function* () { yield shorter.head })(), report.dsnId, 1024), null)
    }
  }
})
