import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('the queue lifetime ends: a last attempt, then a DSN that says 4.4.7 and what the host said', async () => {
  const peer = await startPeer({ rcpt: { '*': '451 4.7.1 not now' } })
  const everpost = await prepareEverpost({
    retry: { minimalBackoffTime: '300ms', maximalBackoffTime: '600ms', maximalQueueLifetime: '10s' },
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
  })
  try {
    await everpost.start()
    const id = await everpost.send('x@partner.test', 'bob@example.test')
    assert.deepEqual(await everpost.states(id), ['expired'])
    const [row] = await everpost.sql<{ late: boolean }[]>`
      select r.settled_at >= m.expires_at as late from messages m join recipients r on r.message_id = m.id where m.id = ${id}`
    assert.equal(row!.late, true)
    const attempts = await readAttempts(everpost.sql, id, 50)
    assert.ok(attempts.length >= 4, `${attempts.length} attempts`)
    const [report] = await until('the report arrives', () => everpost.maildir('bob')[0] && everpost.maildir('bob'))
    assert.match(report!, /Final-Recipient: rfc822; x@partner\.test\nAction: failed\nStatus: 4\.4\.7\n/)
    assert.match(report!, /Diagnostic-Code: smtp; 451 4\.7\.1 not now/)
  } finally {
    await everpost.end()
    await peer.close()
  }
})
