import assert from 'node:assert/strict'
import { test } from 'node:test'
import { receivedField, returnPathField } from './trace.ts'

test('a hostile HELO cannot break the Received field', () => {
  const origin = { protocol: 'ESMTP', helo: 'a) by evil;\r\nX: y', clientAddress: '::1', clientName: null, tls: null, user: 'u' } as const
  const field = receivedField({ id: 'ID', origin, recipients: ['r@b.test'], acceptedAt: new Date(0) }, 'mx.example.test')
  assert.equal(field, 'Received: from a??by?evil???X??y (unknown [IPv6:::1])\r\n\tby mx.example.test (Everpost) with ESMTP id ID\r\n\tfor <r@b.test>;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n')
  const names = {
    "JOHN'S-PC": 'JOHN?S-PC', '(none)': '?none?', MÜLLER: 'M?LLER', '[IPv6:fe80::1%eth0]': '[IPv6:fe80::1?eth0]',
    '[x] (by y)': '?x???by?y?', '[a]b]': '[a?b]', '::1': '??1', '': 'unknown',
  }
  for (const [helo, word] of Object.entries(names)) {
    const named = receivedField({ id: 'ID', origin: { ...origin, helo }, recipients: [], acceptedAt: new Date(0) }, 'mx.example.test')
    assert.ok(named.startsWith(`Received: from ${word} (unknown [IPv6:::1])\r\n`), named)
  }
  const long = receivedField({ id: 'ID', origin: { ...origin, helo: 'x'.repeat(2000) }, recipients: [], acceptedAt: new Date(0) }, 'mx.example.test')
  assert.ok(long.split('\r\n').every((line) => line.length <= 998))
})

test('recipients do not learn of each other, and no address breaks the field, its lines or a host without SMTPUTF8', () => {
  const tls = { version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', verified: false }
  const origin = { protocol: 'ESMTPS', helo: 'c.test', clientAddress: '192.0.2.1', clientName: 'C.test', tls, user: null } as const
  const named = (...recipients: string[]) => / for <(.*)>/.exec(receivedField({ id: 'ID', origin, recipients, acceptedAt: new Date(0) }, 'mx.example.test').replaceAll('\r\n\t', ' '))?.[1]
  assert.deepEqual([named('r@b.test'), named('r@b\u00fccher.test'), named('r@b.test', 's@b.test'), named()], ['r@b.test', 'r@xn--bcher-kva.test', undefined, undefined])
  for (const broken of ['"r r"@b.test', '"r>"@b.test', 'r\r\nX: y@b.test', `${'r'.repeat(255)}@${'b'.repeat(60)}.test`]) assert.equal(named(broken), undefined, broken)
  assert.deepEqual([returnPathField(''), returnPathField('s@b\u00fccher.test')], ['Return-Path: <>\r\n', 'Return-Path: <s@xn--bcher-kva.test>\r\n'])
  assert.match(receivedField({ id: 'ID', origin, recipients: [], acceptedAt: new Date(0) }, 'mx.example.test'), /\r\n\t\(using TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384\)\r\n/)
})

test('a report of our own comes from nobody', () => {
  const origin = { protocol: '', helo: '', clientAddress: '', clientName: null, tls: null, user: null } as const
  const field = receivedField({ id: 'ID', origin, recipients: ['r@b.test'], acceptedAt: new Date(0) }, 'mx.example.test')
  assert.equal(field, 'Received: by mx.example.test (Everpost) id ID\r\n\tfor <r@b.test>;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n')
})
