import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freePort } from '../dev/ports.ts'
import { startPeer } from '../smtp/testing.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { readAttempts } from '../store/attempts.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('all MXs are down: the message waits on a timer, is tried again and taken once one is up; nobody is told', async () => {
  const port = await freePort()
  const dns = await startDnsServer({
    'partner.test/MX': [{ preference: 10, exchange: 'first.partner.test' }, { preference: 10, exchange: 'second.partner.test' }],
    'first.partner.test/A': ['127.0.0.2'],
    'second.partner.test/A': ['127.0.0.3'],
  })
  const everpost = await prepareEverpost({ dns: { servers: [dns.server] }, routes: [{ domain: 'partner.test', nextHop: `partner.test:${port}` }] })
  let peer: Awaited<ReturnType<typeof startPeer>> | undefined
  try {
    await everpost.start()
    const id = await everpost.send('friend@partner.test')
    await until('two attempts have failed', async () => (await readAttempts(everpost.sql, id, 10)).filter((attempt) => attempt.endedAt).length >= 2)
    const [recipient] = await readRecipients(everpost.sql, id, 1)
    assert.deepEqual([recipient!.state, recipient!.outcome?.enhanced, recipient!.outcome?.phase], ['queued', '4.4.1', 'connect'])
    assert.ok(recipient!.nextAttemptAt.getTime() > Date.now() - 5000)
    const [first] = await readAttempts(everpost.sql, id, 10)
    assert.deepEqual(first!.tries.map(({ host }) => host).sort(), ['first.partner.test', 'second.partner.test'])

    peer = await startPeer({}, '127.0.0.3', port)
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(peer.messages.length, 1)
    assert.equal((await everpost.sql`select from messages where kind = 'dsn'`).length, 0)
  } finally {
    await everpost.end()
    await Promise.all([peer?.close(), dns.close()])
  }
})
