import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Phase } from './outcome.ts'
import { makeReply } from './reply.ts'
import { onReply } from './verdict.ts'

const codeOf = (phase: Phase, code: number, text: string) => onReply(makeReply(code, [text]), phase, { host: 'mx.b.test', address: '192.0.2.1', tls: null }).enhanced

test('a reply without an enhanced code gets one that claims no more than it says', () => {
  for (const text of ['<x@b.test>: Recipient address rejected: User unknown in local recipient table', 'No Such User Here', 'Unrouteable address', "This user doesn't have an account",
    'sorry, no mailbox here by that name', '<jo@hrblock.com>: User unknown', '<a@clientcare.test>: No such user']) {
    assert.equal(codeOf('rcpt', 550, text), '5.1.1', text)
  }
  for (const text of [
    'Service unavailable; Client host [192.0.2.7] blocked using zen.spamhaus.org', 'relay not permitted', 'Sender address rejected: Domain not found', 'Access denied',
    'SPF check failed', 'no', 'Your address is unknown to us',
    'unknown@x.test: relay denied', 'Invalid EHLO', 'Reverse DNS record not found for 192.0.2.7', 'No such domain at this location',
  ]) for (const code of [550, 553, 554]) assert.equal(codeOf('rcpt', code, text), '5.0.0', text)
  for (const [code, text] of [[500, 'Unknown command'], [555, 'Invalid parameter NOTIFY'], [530, 'Authentication required: invalid session']] as const)
    assert.equal(codeOf('rcpt', code, text), '5.0.0', text)
  assert.equal(codeOf('rcpt', 451, 'lookup failure: user unknown'), '4.0.0')
  assert.equal(codeOf('rcpt', 552, 'Mailbox full'), '5.2.2')
  assert.equal(codeOf('mail', 550, 'unknown user'), '5.0.0')
  assert.equal(codeOf('dot', 554, 'spam'), '5.0.0')
  assert.deepEqual([codeOf('mail', 552, 'too big'), codeOf('dot', 552, 'no')], ['5.3.4', '5.0.0'])
  assert.equal(codeOf('auth', 535, 'no'), '4.7.8')
  assert.equal(codeOf('dot', 250, 'taken'), '2.0.0')
})

test('an enhanced code of the host is kept, unless it is of another class than what became of the mail', () => {
  assert.equal(codeOf('rcpt', 550, '5.7.1 user unknown'), '5.7.1')
  assert.equal(codeOf('tls', 554, '5.7.1 no'), '4.0.0')
})
