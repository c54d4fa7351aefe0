import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { composeReport, type Report } from './dsn.ts'
import { makeReply } from './reply.ts'
import { receivedField } from './trace.ts'

/** Python's email package is the independent reader. */
const reader = `
import sys, json, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = list(m.iter_parts())
status = parts[1].get_payload()
print(json.dumps({'type': m.get_content_type(), 'report': m.get_param('report-type'), 'auto': m['Auto-Submitted'], 'references': m['References'],
  'types': [p.get_content_type() for p in parts], 'text': parts[0].get_content(), 'groups': [{k: ' '.join(v.split()) for k, v in g.items()} for g in status],
  'headers': parts[2].get_payload(decode=True).decode('latin-1'), 'defects': [str(d) for p in m.walk() for d in p.defects]}))`

function read(report: Report) {
  const octets = composeReport(report)
  assert.ok([...octets].every((octet) => octet < 128), '7-bit throughout')
  const { stdout, stderr } = spawnSync('python3', ['-c', reader], { input: octets })
  assert.equal(stderr.toString(), '')
  return JSON.parse(stdout.toString())
}

const report: Report = {
  id: 'ID1', dsnId: 'ID2', hostname: 'mx.example.test', to: 's@a.test', envid: 'a+2Bb', arrivedAt: new Date(0), at: new Date(1000), receivedFrom: 'client.test',
  recipients: [{
    forwardPath: 'r@b.test', orcpt: 'rfc822;R+2Bx@b.test', action: 'failed', status: '5.1.1', remoteHost: 'mx.b.test',
    reply: makeReply(550, ['5.1.1 no\0such\r', `5.1.1 user Status: 2.0.0 ${'long '.repeat(60)}`]), text: 'said: no', lastAttemptAt: new Date(500), willRetryUntil: null,
  }],
  original: Buffer.from('Message-ID: <m@a.test>\r\nSubject: x\r\n'),
}

test('a failure report is a multipart/report that another reader understands, field by field', () => {
  const found = read(report)
  assert.deepEqual([found.type, found.report, found.auto, found.references], ['multipart/report', 'delivery-status', 'auto-replied', '<m@a.test>'])
  assert.deepEqual(found.types, ['text/plain', 'message/delivery-status', 'text/rfc822-headers'])
  assert.deepEqual(found.defects, [])
  const [message, recipient] = found.groups
  assert.equal(message['Original-Envelope-Id'], 'a+b')
  assert.equal(recipient['Original-Recipient'], 'rfc822; R+x@b.test')
  assert.deepEqual([recipient.Action, recipient.Status, recipient['Remote-MTA']], ['failed', '5.1.1', 'dns; mx.b.test'])
  assert.match(recipient['Diagnostic-Code'], /^smtp; 550 5\.1\.1 no\?such\? user Status: 2\.0\.0 long/)
  assert.match(found.headers, /Subject: x/)
  assert.match(found.text, /<r@b\.test>/)
})

test('8-bit headers of the original come back as they were', () => {
  assert.equal(read({ ...report, original: Buffer.from('Subject: \xe9\r\n', 'latin1') }).headers, 'Subject: \xe9\r\n')
})

test('a hostile HELO cannot break the Received field', () => {
  const origin = { protocol: 'ESMTP', helo: 'a) by evil;\r\nX: y', clientAddress: '::1', clientName: null, tls: null, user: 'u' } as const
  const field = receivedField({ id: 'ID', origin, recipients: ['r@b.test'], acceptedAt: new Date(0) }, 'mx.example.test')
  assert.equal(field, 'Received: from a??by?evil???X:?y (unknown [IPv6:::1])\r\n\tby mx.example.test (Everpost) with ESMTP id ID\r\n\tfor <r@b.test>;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n')
})
