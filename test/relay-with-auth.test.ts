import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Client, Connection } from '@temporalio/client'
import { type Peer, startPeer } from '../smtp/testing.ts'
import { makeTestCa } from '../smtp/testing-ca.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'

const secret = 'correct-horse-battery'
const sent = Buffer.from(`\0mx@relay.test\0${secret}`).toString('base64')

test('a relay host with AUTH and a CA of its own: one connection for all messages, and the secret is nowhere to be found', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-relay-'))
  const ca = await makeTestCa()
  const peer: Peer = await startPeer({
    extensions: ['STARTTLS'], secureExtensions: ['AUTH PLAIN LOGIN', 'PIPELINING', 'DSN'], tls: await ca.issue('relay.test'),
    // It refuses the first login, and echoes it, as some hosts do.
    get auth() { return [peer.connections === 1 ? `535 5.7.8 AUTH PLAIN ${sent} refused` : '235 2.7.0 welcome'] },
  })
  writeFileSync(join(folder, 'ca.pem'), ca.cert)
  writeFileSync(join(folder, 'password'), `${secret}\n`)
  const everpost = await prepareEverpost({
    routes: [{
      domain: '*', nextHop: `[127.0.0.1]:${peer.port}`, tls: { level: 'verify', ca: join(folder, 'ca.pem'), servername: 'relay.test' },
      auth: { user: 'mx@relay.test', passwordFile: join(folder, 'password') },
    }],
    transfer: { idleTime: '1m' },
    log: { level: 'debug' },
  })
  let log = ''
  try {
    const child = await everpost.start()
    child.stdout!.on('data', (text: string) => { log += text })
    const ids = [await everpost.send('a@one.test')]
    await everpost.states(ids[0]!)
    for (const to of ['b@two.test', 'c@three.test', 'd@one.test']) {
      const id = await everpost.send(to)
      assert.deepEqual(await everpost.states(id), ['delivered'])
      ids.push(id)
    }
    // The refused connection, and one for everything else.
    assert.deepEqual([peer.connections, peer.messages.length, peer.servername], [2, 4, 'relay.test'])
    const attempts = await readAttempts(everpost.sql, ids[0]!, 10)
    assert.deepEqual(attempts.map(({ tries, outcomes }) => [tries[0]!.phase, tries[0]!.tls?.verified, outcomes['0']!.status]), [['auth', true, 'deferred'], ['dot', true, 'delivered']])
    const [last] = await readAttempts(everpost.sql, ids[3]!, 10)
    assert.deepEqual([last!.tries[0]!.reused, last!.tries[0]!.tls?.verified, last!.outcomes['0']!.dsnPassedOn], [true, true, true])

    assert.ok(!peer.commands.includes('QUIT') || peer.commands.indexOf('QUIT') < peer.commands.lastIndexOf('MAIL FROM:<sender@example.test>'), 'it waits for more')
    await everpost.stop(child)
    assert.equal(peer.commands.at(-1), 'QUIT')

    const connection = await Connection.connect({ address: everpost.temporal })
    const histories = await Promise.all(ids.map((id) => new Client({ connection }).workflow.getHandle(id).fetchHistory()))
    await connection.close()
    const payloads = histories.map(octetsIn).join('\n')
    const tables = JSON.stringify([await everpost.sql`select * from attempts`, await everpost.sql`select * from recipients`, await everpost.sql`select * from messages`])
    assert.ok(payloads.includes(`:${peer.port}`), 'the histories could be read')
    for (const [where, text] of Object.entries({ payloads, tables, log })) {
      assert.ok(text.length > 1000, where)
      assert.ok(!text.includes(secret) && !text.includes(sent), where)
    }
  } finally {
    await everpost.end()
    await peer.close()
    rmSync(folder, { recursive: true })
  }
})

/** Every octet string in a history, as text. */
function octetsIn(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8')
  return typeof value === 'object' && value !== null ? Object.values(value).map(octetsIn).join(' ') : ''
}

test('a file that a route names and that is not there: the process says so at once, with exit code 78', async () => {
  const everpost = await prepareEverpost({ routes: [{ domain: '*', nextHop: '[127.0.0.1]', tls: { level: 'verify', ca: './missing.pem' } }] })
  try {
    for (const [command, expected] of [['serve', 78], ['worker', 78], ['config', 0]] as const) {
      const { code, stderr } = await everpost.command(command)
      assert.equal(code, expected)
      assert.match(stderr, /routes\[0\] \(to \[127\.0\.0\.1\]\): tls\.ca .*missing\.pem cannot be read \(ENOENT\)/)
    }
  } finally {
    await everpost.end()
  }
})
