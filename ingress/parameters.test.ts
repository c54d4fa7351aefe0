import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { mailParameters, rcptParameters } from './parameters.ts'

const offered = { messageSize: 1000, auth: false, tls: true, futureRelease: 60_000, verp: null }
const refusal = (result: object) => ('refused' in result ? (result.refused as { code: number }).code : null)

test('UTF-8 in ORCPT needs SMTPUTF8, and the type utf-8', () => {
  assert.equal(refusal(rcptParameters(' ORCPT=utf-8;é@a.test', false)), 501)
  assert.equal(refusal(rcptParameters(' ORCPT=rfc822;é@a.test', true)), 501)
  assert.equal(refusal(rcptParameters(' ORCPT=utf-8;é@a.test', true)), null)
  assert.equal(refusal(rcptParameters(' ORCPT=utf-8;\\x{E9}@a.test', false)), null)
})

test('values are taken as their RFCs write them, and no others', () => {
  const mail = (text: string) => refusal(mailParameters(` ${text}`, offered, 0))
  const rcpt = (text: string) => refusal(rcptParameters(` ${text}`, false))
  for (const text of ['SIZE=1000', 'BODY=binarymime', 'SMTPUTF8', 'REQUIRETLS', 'RET=full', 'HOLDFOR=0', 'HOLDUNTIL=1970-01-01T01:00:30+01:00']) assert.equal(mail(text), null, text)
  for (const text of [
    'SIZE', 'SIZE=-1', 'BODY', 'SMTPUTF8=1', 'REQUIRETLS=1', 'RET', 'ENVID', 'HOLDFOR', 'HOLDFOR=1.5', 'HOLDUNTIL=1970-01-01T00:00:30', 'HOLDUNTIL=1970-13-01T00:00:30Z',
    'HOLDFOR=1 HOLDUNTIL=1970-01-01T00:00:30Z', 'size=1 SIZE=1', '-X', 'X=a=b', 'X=\u0085',
  ]) assert.equal(mail(text), 501, text)
  assert.equal(mail('SIZE=1001'), 552)
  assert.equal(mail('HOLDUNTIL=1970-01-01T00:01:00.001Z'), 554)
  for (const text of ['NOTIFY=never', 'NOTIFY=SUCCESS,FAILURE,DELAY', 'ORCPT=x400;a']) assert.equal(rcpt(text), null, text)
  for (const text of ['NOTIFY', 'NOTIFY=DELAY,DELAY', 'NOTIFY=NEVER,NEVER', 'NOTIFY=NEVER,DELAY', 'NOTIFY=DELAY,', 'ORCPT', 'ORCPT=;a', 'ORCPT=rfc822;a+2b']) assert.equal(rcpt(text), 501, text)
})

test('AUTH= is known only where AUTH is offered, HOLDFOR only where FUTURERELEASE is', () => {
  assert.equal(refusal(mailParameters(' AUTH=<>', offered, 0)), 555)
  for (const [value, code] of [['<>', null], ['e+3Dmc2@a.test', null], ['e+zz', 501], ['', 501]] as const) assert.equal(refusal(mailParameters(` AUTH=${value}`, { ...offered, auth: true }, 0)), code)
  assert.equal(refusal(mailParameters(' HOLDFOR=1', { ...offered, futureRelease: 0 }, 0)), 555)
  assert.deepEqual((mailParameters(' HOLDFOR=60', offered, 0) as { releaseAt: Date }).releaseAt, new Date(60_000))
  assert.equal(refusal(mailParameters(' HOLDFOR=61', offered, 0)), 554)
  assert.equal(refusal(mailParameters(' HOLDUNTIL=1970-01-01T00:00:30Z', offered, 0)), null)
  assert.equal(refusal(mailParameters(' HOLDUNTIL=1970-01-01', offered, 0)), 501)
})

test('XVERP is known only where it is offered, with two delimiters or those of the settings', () => {
  const verp = (text: string, offers: string | null = '+=') => mailParameters(text, { ...offered, verp: offers }, 0)
  assert.equal(refusal(verp(' XVERP', null)), 555)
  assert.equal((verp(' XVERP') as { verp: string }).verp, '+=')
  assert.equal((verp(' XVERP=-=') as { verp: string }).verp, '-=')
  for (const text of [' XVERP=+', ' XVERP=ab', ' XVERP=+==', ' XVERP=+@', ' XVERP XVERP']) assert.equal(refusal(verp(text)), 501, text)
})

test('ENVID is at most 100, ORCPT at most 500 octets of xtext', () => {
  assert.equal(refusal(mailParameters(` ENVID=${'x'.repeat(100)}`, offered, 0)), null)
  assert.equal(refusal(mailParameters(` ENVID=${'x'.repeat(101)}`, offered, 0)), 501)
  assert.equal(refusal(rcptParameters(` ORCPT=rfc822;${'x'.repeat(494)}`, false)), 501)
})

test('no text makes the reader fail: parameters, or 501, 552, 554, 555', () => {
  const words = fc.array(fc.constantFrom('SIZE=', 'BODY=', '8BITMIME', 'NOTIFY=', 'NEVER', 'ORCPT=', 'rfc822;', ' ', '=', '+', '2B', ',', 'SMTPUTF8', 'é', '-', '\t', 'HOLDUNTIL='), { maxLength: 12 })
  fc.assert(fc.property(fc.oneof(words.map((parts) => parts.join('')), fc.string()), fc.boolean(), (text, utf8) => {
    assert.ok([null, 501, 552, 554, 555].includes(refusal(mailParameters(text, offered, 0))))
    assert.ok([null, 501, 555].includes(refusal(rcptParameters(text, utf8))))
  }), { numRuns: 3000 })
})
