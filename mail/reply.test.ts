import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatReply, makeReply, maximalReplyText } from './reply.ts'

test('the enhanced code is taken from the text when its class fits', () => {
  assert.deepEqual(makeReply(550, ['5.1.1 No such', '5.1.1 user']), { code: 550, enhanced: '5.1.1', text: 'No such\nuser' })
  assert.equal(makeReply(450, ['5.1.1 odd']).enhanced, null)
  assert.equal(formatReply(makeReply(550, ['5.1.1 No such', '5.1.1 user'])), '550 5.1.1 No such user')
})

test('hostile text is made safe and short', () => {
  const reply = makeReply(550, [`a\0b\r\x1b[2J${'x'.repeat(10_000)}`, '\ud800'])
  assert.equal(reply.text.length, maximalReplyText)
  assert.match(reply.text, /^a\?b\?\?\[2J/)
})

test('what turns or breaks a line unseen goes, and a cut leaves no half character', () => {
  assert.equal(makeReply(550, ['a\u202eb\u2028c\u200fd\u2066e']).text, 'a?b?c?d?e')
  for (const before of ['', 'x']) assert.ok(makeReply(550, [before + '\u{1f4e7}'.repeat(maximalReplyText)]).text.isWellFormed())
})
