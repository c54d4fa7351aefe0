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

test('Dovecot takes mail by its Unix socket: of a local domain, whose users it knows at RCPT, and of a domain that a route leads to it', { skip: needs('dovecot') }, async () => {
  const dovecot = await startDovecot(['good@lmtp.test', 'far@routed.test'])
  const nextHop = `lmtp:unix:${dovecot.socket}`
  const everpost = await prepareEverpost({
    localDomains: { 'lmtp.test': { deliver: 'lmtp', path: dovecot.socket, callout: true } },
    relayDomains: { 'routed.test': {}, 'gone.test': {} },
    routes: [{ domain: 'routed.test', nextHop }, { domain: 'gone.test', nextHop: 'lmtp:unix:/nonexistent/lmtp' }],
  })
  try {
    await everpost.start()
    await assert.rejects(everpost.send('nobody@lmtp.test'), /550 5\.1\.1/)
    const id = await everpost.send(['good@lmtp.test', 'far@routed.test', 'nobody@routed.test', 'a@gone.test'], 'bob@example.test', 'Return-Path: <forged@a.test>\r\nSubject: x\r\n\r\n')
    assert.deepEqual(await everpost.states(id, (states) => states.filter((state) => state !== 'queued').length === 3 && !states.includes('bouncing')), ['delivered', 'delivered', 'bounced', 'queued'])
    for (const user of ['good', 'far']) assert.deepEqual(dovecot.inbox(user).map((mail) => mail.match(/^Return-Path:.*/gm)), [['Return-Path: <bob@example.test>']])

    // One name for all that goes there, in records, listings and filters.
    const attempts = await readAttempts(everpost.sql, id, 10)
    assert.deepEqual(attempts.filter(({ outcomes }) => outcomes['0']).map((attempt) => [attempt.nextHop, Object.keys(attempt.outcomes).length]), [[nextHop, 3]])
    const { stdout } = await everpost.command('show', id)
    assert.match(stdout, new RegExp(`attempt \\d to ${nextHop}\n\\s+tried localhost\\[${dovecot.socket}\\], \\d+ ms`))
    assert.match(stdout, /a@gone\.test: deferred 4\.4\.1 cannot connect to localhost\[\/nonexistent\/lmtp\]: there is no such socket \(ENOENT\)/)
    assert.match((await everpost.command('destination', 'list')).stdout, /^lmtp:unix:\/nonexistent\/lmtp +ok +1 /m)
    assert.match((await everpost.command('queue', '--next-hop', 'lmtp:unix:/nonexistent/lmtp')).stdout, new RegExp(id))

    const rerouted = await everpost.command('reroute', id, '--to', nextHop)
    assert.deepEqual([rerouted.code, rerouted.stderr], [0, ''])
    assert.deepEqual((await everpost.states(id))[3], 'bounced')
  } finally {
    await everpost.end()
    await dovecot.stop()
  }
})
