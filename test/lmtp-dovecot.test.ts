import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readAttempts } from '../store/attempts.ts'
import { startDovecot } from './support/dovecot.ts'
import { prepareEverpost } from './support/everpost.ts'
import { needs } from './support/packages.ts'

test('Dovecot takes one recipient by LMTP and refuses the other: each has its own reply', { skip: needs('dovecot') }, async () => {
  const dovecot = await startDovecot(['good@lmtp.test'])
  const everpost = await prepareEverpost({
    localDomains: { 'lmtp.test': { deliver: 'lmtp', host: '127.0.0.1', port: dovecot.port }, 'example.test': { deliver: 'maildir', path: './mail/{localpart}' } },
    transfer: { idleTime: '1m' },
  })
  try {
    await everpost.start()
    const id = await everpost.send(['nobody@lmtp.test', 'good@lmtp.test'], 'bob@example.test', 'Return-Path: <forged@a.test>\r\nSubject: x\r\n\r\n.dot\r\n')
    assert.deepEqual(await everpost.states(id), ['bounced', 'delivered'])
    const [mail, ...more] = dovecot.inbox('good')
    assert.deepEqual(more, [])
    assert.match(mail!, /^Return-Path: <bob@example\.test>\n/)
    assert.equal(mail!.match(/^Return-Path:/gm)?.length, 1)
    assert.match(mail!, new RegExp(`\\nReceived: from [^;]+ id ${id};\\n[^]*\\nSubject: x\\n\\n\\.dot\\n$`))
    const [attempt] = await readAttempts(everpost.sql, id, 10)
    assert.deepEqual([attempt!.outcomes['0']?.enhanced, attempt!.outcomes['1']?.enhanced], ['5.1.1', '2.0.0'])
    assert.match(attempt!.outcomes['1']!.reply!.text, /Saved/)

    // 8-bit, UTF-8 and nothing at all, on the same connection.
    for (const raw of [Buffer.from('Subject: sch\xf6n\r\n\r\n\xff\r\n', 'latin1'), Buffer.from('Subject: schön\r\n\r\nGrüße\r\n'), Buffer.alloc(0)]) {
      const next = await everpost.send('good@lmtp.test', 'bob@example.test', raw)
      assert.deepEqual(await everpost.states(next), ['delivered'])
      assert.equal((await readAttempts(everpost.sql, next, 1))[0]!.tries[0]!.reused, true)
      assert.ok(dovecot.inbox('good').some((mail) => mail.endsWith(raw.toString('latin1').replaceAll('\r\n', '\n')) && mail.includes(next)))
    }
  } finally {
    await everpost.end()
    await dovecot.stop()
  }
})
