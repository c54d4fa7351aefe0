import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createDns } from './dns.ts'
import { createPool } from './pool.ts'
import { startPeer, testRequest } from './testing.ts'
import { plainTls } from './tls.ts'
import { transfer } from './transfer.ts'

const pool = createPool({ idle: 0, age: 0, messages: 1, connections: 1 })
after(() => pool.close())

test('octets in the clear behind the reply to STARTTLS break the connection: nothing more is said, and nothing of them believed', async () => {
  const peer = await startPeer({ extensions: ['STARTTLS'], starttls: '220 go ahead\r\n250-evil.test\r\n250 AUTH PLAIN' })
  try {
    const result = await transfer(testRequest(peer.port, { tls: async () => plainTls('encrypt') }), { dns: createDns({ servers: [], timeout: 100 }), pool })
    for (const outcome of Object.values(result.outcomes)) {
      assert.equal(outcome.status, 'deferred')
      assert.match(outcome.text, /octets in the clear/)
    }
    assert.deepEqual(peer.commands, ['EHLO mx.example.test', 'STARTTLS'])
  } finally {
    await peer.close()
  }
})
