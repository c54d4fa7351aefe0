import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeTestCa } from '../smtp/testing-ca.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { needs } from './support/packages.ts'
import { startPostfix, withoutRoot } from './support/postfix.ts'
import { until } from './support/until.ts'

/** Says each line when the reply to the one before has come; the last reply. */
async function speak(port: number, lines: string[]): Promise<string> {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  let reply = ''
  for (const line of [null, ...lines]) {
    if (line !== null) socket.write(`${line}\r\n`)
    for (reply = ''; !/^\d{3}( .*)?\r\n$/m.test(reply); ) reply += String((await once(socket, 'data'))[0])
  }
  socket.end()
  return reply
}

const skip = needs('postfix') || withoutRoot()

test('Postfix as next hop takes everything, empty to 50 MiB, 8-bit and dots, on a connection that is used again', { skip }, async () => {
  const postfix = await startPostfix(['empty', 'dots', 'eight', 'utf8', 'large'])
  const everpost = await prepareEverpost({
    routes: [{ domain: 'post.test', nextHop: `[127.0.0.1]:${postfix.port}` }], limits: { messageSize: '60MiB' }, transfer: { idleTime: '1m' },
  })
  const line = `${'0123456789abcdef'.repeat(4)}\r\n`
  const large = Buffer.from(`Subject: large\r\n\r\n${line.repeat(Math.ceil((50 * 1024 * 1024) / line.length))}`)
  const messages: [string, string | Buffer][] = [
    ['empty', Buffer.alloc(0)],
    ['dots', 'Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n'],
    ['eight', Buffer.from('Subject: eight\r\n\r\n\xe9\xff\x80 octets\r\n', 'latin1')],
    ['utf8', Buffer.from('Subject: schön\r\nFrom: jörg@bücher.test\r\n\r\nGrüße\r\n')],
    ['large', large],
  ]
  try {
    await everpost.start()
    for (const [name, raw] of messages) {
      const id = await everpost.send(`${name}@post.test`, 'sender@example.test', raw)
      assert.deepEqual(await everpost.states(id), ['delivered'], name)
      const [attempt] = await readAttempts(everpost.sql, id, 1)
      assert.equal(attempt!.tries[0]!.reused, name === 'empty' ? undefined : true, name)
    }
    const stored = async (name: string) => (await until(`Postfix stored ${name}`, () => /\n\n$/.test(postfix.mailbox(name)) && postfix.mailbox(name)))
    // Its mailbox files have LF, a From line in front, and an empty line behind.
    const body = (mailbox: string) => mailbox.slice(mailbox.indexOf('\n\n') + 2, -1)
    assert.match(await stored('empty'), /^From .*\n.*Received: from .*\n.*by mx\.example\.test/s)
    assert.equal(body(await stored('dots')), '.\n..\n.x\n')
    assert.equal(body(await stored('eight')), '\xe9\xff\x80 octets\n')
    assert.match(Buffer.from(await stored('utf8'), 'latin1').toString(), /Subject: schön\nFrom: jörg@bücher\.test\n.*\nGrüße\n/s)
    assert.equal(body(await stored('large')), large.toString('latin1').replaceAll('\r\n', '\n').slice('Subject: large\n\n'.length))
  } finally {
    await everpost.end()
    await postfix.stop()
  }
})

test('Postfix refuses one recipient and takes the other; without 8BITMIME it gets only what is 7-bit, or was not declared', { skip }, async () => {
  const postfix = await startPostfix(['good'], { smtpd_discard_ehlo_keywords: '8bitmime, smtputf8' })
  const everpost = await prepareEverpost({ routes: [{ domain: 'post.test', nextHop: `[127.0.0.1]:${postfix.port}` }] })
  try {
    await everpost.start()
    const id = await everpost.send(['nobody@post.test', 'good@post.test'], '')
    assert.deepEqual(await everpost.states(id), ['bounced', 'delivered'])
    const [attempt] = await readAttempts(everpost.sql, id, 1)
    assert.match(attempt!.outcomes['0']!.text, /550 5\.1\.1 <nobody@post\.test>: Recipient address rejected: User unknown .*\(in reply to RCPT TO\)/)
    const submit = async (...lines: string[]) => /queued as (\w+)/.exec(await speak(everpost.ports['smtp']!, lines))![1]!
    const declared = (text: string) => submit('EHLO c.test', 'MAIL FROM:<> BODY=8BITMIME', 'RCPT TO:<good@post.test>', 'DATA', `Subject: ${text}\r\n\r\n${text}\r\n.`)
    const plain = await declared('plain')
    assert.deepEqual(await everpost.states(plain), ['delivered'])
    const eight = await declared('schön')
    assert.deepEqual(await everpost.states(eight), ['bounced'])
    const [refused] = await readAttempts(everpost.sql, eight, 1)
    assert.deepEqual([refused!.outcomes['0']!.enhanced, refused!.tries[0]!.dotSent], ['5.6.3', false])
    const undeclared = await submit('EHLO c.test', 'MAIL FROM:<>', 'RCPT TO:<good@post.test>', 'DATA', 'Subject: schön\r\n\r\nschön\r\n.')
    assert.deepEqual(await everpost.states(undeclared), ['delivered'])
  } finally {
    await everpost.end()
    await postfix.stop()
  }
})

test('Postfix under TLS: encrypted, verified against a CA of its own, and it takes over the reports', { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-postfix-tls-'))
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const ca = await makeTestCa()
  const { cert, key } = await ca.issue('post.test')
  const postfix = await startPostfix(['good'], {
    smtpd_tls_security_level: 'encrypt', smtpd_tls_cert_file: file('cert.pem', cert), smtpd_tls_key_file: file('key.pem', key),
  })
  const route = { domain: 'post.test', nextHop: `[127.0.0.1]:${postfix.port}` }
  const everpost = await prepareEverpost({ routes: [{ ...route, tls: { level: 'verify', ca: file('ca.pem', ca.cert), servername: 'post.test' } }] })
  try {
    await everpost.start()
    const id = await everpost.send('good@post.test')
    assert.deepEqual(await everpost.states(id), ['delivered'])
    const [attempt] = await readAttempts(everpost.sql, id, 1)
    const { tls, dsnPassedOn } = attempt!.outcomes['0']!
    assert.deepEqual([tls?.version, tls?.verified, dsnPassedOn], ['TLSv1.3', true, true])
    await until('Postfix stored it', () => postfix.mailbox('good').includes(id))
  } finally {
    await everpost.end()
    await postfix.stop()
    rmSync(folder, { recursive: true })
  }
})
