import assert from 'node:assert/strict'
import { Client, Connection } from '@temporalio/client'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { statusQuery } from '../workflows/interface.ts'
import { prepareEverpost } from './support/everpost.ts'

test('mail goes to the MX, byte for byte behind its Received field, with six events of history', async () => {
  const peer = await startPeer({ extensions: ['8BITMIME'] }, '127.0.0.2')
  const dns = await startDnsServer({ 'partner.test/MX': [{ preference: 10, exchange: 'mx.partner.test' }], 'mx.partner.test/A': ['127.0.0.2'] })
  // The port is the only thing set by hand: the name is looked up as any domain is.
  const everpost = await prepareEverpost({ dns: { servers: [dns.server] }, routes: [{ domain: 'partner.test', nextHop: `partner.test:${peer.port}` }] })
  try {
    const child = await everpost.start()
    const lines = Array.from({ length: 10_000 }, (_, i) => `${i % 7 === 0 ? '.' : ''}line ${i} \xe9`).join('\r\n')
    const raw = `Subject: long\r\n\r\n${lines}\r\n`
    const id = await everpost.send('friend@partner.test', 'sender@example.test', raw)
    assert.deepEqual(await everpost.states(id), ['delivered'])
    const received = peer.messages[0]!.replace(/\r\n\./g, '\r\n')
    assert.match(received, new RegExp(`^Received: from [^\\r]+\\r\\n\\tby mx\\.example\\.test \\(Everpost\\) with ESMTP id ${id}\\r\\n\\tfor <friend@partner\\.test>;\\r\\n`))
    assert.equal(received.slice(received.indexOf('Subject:')), Buffer.from(raw).toString('latin1'))

    const connection = await Connection.connect({ address: everpost.temporal })
    const handle = new Client({ connection }).workflow.getHandle(id)
    await handle.result()
    assert.ok((await handle.describe()).historyLength <= 6)
    const status = await handle.query(statusQuery)
    assert.deepEqual([status.recipients[0]?.state, status.attempts[0]?.tries[0]?.host, status.next], ['delivered', 'mx.partner.test', null])
    await connection.close()
    await everpost.stop(child)
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), dns.close()])
  }
})
