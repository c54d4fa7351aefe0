import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseSendmailArguments } from './sendmail-arguments.ts'
import { prepareMessage } from './sendmail-message.ts'

test('flags with their value attached or apart, together, unknown, and after --', () => {
  const read = (line: string) => parseSendmailArguments(line.split(' '))
  assert.deepEqual(read('-FCron -i -B8BITMIME -oem root'), { recipients: ['root'], fromMessage: false, ignoreDots: true, fullName: 'Cron', smtpOnStandardIo: false })
  assert.deepEqual(read('-t -oi -f a@x -N never b@y'), { recipients: ['b@y'], fromMessage: true, ignoreDots: true, from: 'a@x', notify: ['NEVER'], smtpOnStandardIo: false })
  assert.deepEqual([read('-ti').fromMessage, read('-ti').ignoreDots, read('-bs').smtpOnStandardIo, read('-bm x').recipients], [true, true, true, ['x']])
  assert.deepEqual(read('-v -U -om -O ErrorMode=m -r <> -- -odd@x').recipients, ['-odd@x'])
  assert.equal(read('-f <>').from, '')
  for (const wrong of ['-bp', '-bd', '-f']) assert.throws(() => read(wrong), /sendmail: -/)
})

const context = {
  recipients: [] as string[], fromMessage: true, ignoreDots: true, from: 'me@x.test', domain: 'x.test', hostname: 'mx.x.test', id: 'ID', now: new Date(0),
}
const prepare = (text: string, change = {}) => {
  const { octets, recipients } = prepareMessage(Buffer.from(text), { ...context, ...change })
  return { text: octets.toString(), recipients }
}

test('recipients of all fields, groups, comments and folded lines, each once; Bcc goes', () => {
  const { text, recipients } = prepare('To: a\nTo: "B, b" <b@y.test>\ncc: team: c@y.test, d@y.test;\nBCC: e@y.test,\n  a@x.test\nX: To: f@y.test\n\nTo: g@y.test\n', { recipients: ['h'] })
  assert.deepEqual(recipients, ['h@x.test', 'a@x.test', 'b@y.test', 'c@y.test', 'd@y.test', 'e@y.test'])
  assert.doesNotMatch(text, /bcc|e@y\.test/i)
  assert.match(text, /\r\n\r\nTo: g@y\.test\r\n$/)
})

test('line ends become CRLF, the From line of a mailbox becomes a field, missing fields come first, and those that are there stay', () => {
  const { text } = prepare('From a Thu Jan  1\nSubject: x\n\na\r\nb\n', { fullName: 'A "B"' })
  assert.equal(text, 'From: "A \\"B\\"" <me@x.test>\r\nDate: Thu, 01 Jan 1970 00:00:00 +0000\r\nMessage-ID: <ID@mx.x.test>\r\nX-Mailbox-Line: From a Thu Jan  1\r\nSubject: x\r\n\r\na\r\nb\r\n')
  const whole = 'From: a@b\r\nDate: x\r\nMessage-ID: <y@z>\r\n\r\n.\r\n'
  assert.equal(prepare(whole).text, whole)
  assert.match(prepare('no header\n').text, /^From: .*\r\nDate: .*\r\nMessage-ID: .*\r\n\r\nno header\r\n$/)
  assert.match(prepare('From here to there\nand back\n').text, /\r\n\r\nFrom here to there\r\nand back\r\n$/, 'a text that begins so loses nothing')
  assert.match(prepare('').text, /^From: /)
})
