import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'

test('a reply of NUL, escape sequences, broken UTF-8 and a cut emoji is stored, shown and reported', async () => {
  const hostile = `550-5.1.1 \0 \x1b[2J \xff \xed\xa0\x80 \xe2\x80\xae\r\n${`550-x${'\xf0\x9f\x93\xa7'.repeat(400)}\r\n`.repeat(8)}550 end`
  const peer = await startPeer({ rcpt: { '*': hostile } })
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    await everpost.start()
    const id = await everpost.send('friend@partner.test', 'sender@example.test')
    assert.deepEqual(await everpost.states(id), ['bounced'])
    const [recipient] = await readRecipients(everpost.sql, id, 1)
    const { reply, enhanced } = recipient!.outcome!
    assert.deepEqual([reply!.code, enhanced, reply!.text.length <= 4096, reply!.text.isWellFormed()], [550, '5.1.1', true, true])
    const { code, stdout } = await everpost.command('show', id)
    assert.equal(code, 0)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that none is there is the point
    assert.doesNotMatch(stdout, /[\x00\u202e]|\x1b\[2J/)
    const [dsn] = await everpost.sql<{ id: string }[]>`select id from messages where parent = ${id}`
    assert.deepEqual(await everpost.states(dsn!.id), ['delivered'])
    assert.match(everpost.maildir('sender')[0]!, /^Status: 5\.1\.1$/m)
  } finally {
    await everpost.end()
    await peer.close()
  }
})
