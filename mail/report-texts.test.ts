import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Report, ReportRecipient } from './dsn.ts'
import { explanation } from './dsn-text.ts'
import { makeReply } from './reply.ts'
import { reportTexts } from './report-texts.ts'

const languages = Object.keys(reportTexts) as (keyof typeof reportTexts)[]

test('all languages have the same texts and the same advice', () => {
  const { en } = reportTexts
  for (const language of languages) {
    assert.deepEqual(Object.keys(reportTexts[language]).sort(), Object.keys(en).sort(), language)
    assert.deepEqual(Object.keys(reportTexts[language].advice).sort(), Object.keys(en.advice).sort(), language)
  }
})

/** What a report on this failure says, in one line. */
function said(language: keyof typeof reportTexts, failure: Pick<ReportRecipient, 'status' | 'reply' | 'text'>): string {
  const recipient: ReportRecipient = {
    forwardPath: 'r@b.test', orcpt: null, action: 'failed', expired: false, remoteHost: null, lastAttemptAt: null, willRetryUntil: null, ...failure,
  }
  const report: Report = {
    event: 'failed', toPostmaster: false, id: 'ID1', dsnId: 'ID2', hostname: 'mx.example.test', to: 's@a.test', envid: null, arrivedAt: new Date(0), at: new Date(1000),
    triedUntil: new Date(432_000_000), receivedFrom: 'client.test', recipients: [recipient], original: Buffer.from(''), full: null, smtpUtf8: false, texts: reportTexts[language],
  }
  return explanation(report).replace(/\s+/g, ' ')
}

test('a sender that is not accepted is not told to look at the address of the recipient', () => {
  for (const language of languages) {
    const { advice } = reportTexts[language]
    const text = said(language, { status: '5.1.8', reply: makeReply(553, ['5.1.8 bad sender']), text: 'said: bad sender' })
    assert.ok(text.includes(advice['5.1.8']!) && !text.includes(advice['5.1']!), text)
  }
})

test('what an operator returned is not put down to the other system, and what that refused is', () => {
  for (const language of languages) {
    const { advice, returnedHere } = reportTexts[language]
    const ours = said(language, { status: '5.0.0', reply: null, text: 'returned by the operator: a spam run' })
    const theirs = said(language, { status: '5.0.0', reply: makeReply(550, ['no']), text: 'said: 550 no' })
    assert.ok(ours.includes(returnedHere) && !ours.includes(advice['5']!), ours)
    assert.ok(theirs.includes(advice['5']!) && !theirs.includes(returnedHere), theirs)
  }
})
