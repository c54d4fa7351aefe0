import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('a planned stop waits for the reply to a dot and for a program that has the message, begins nothing, and is not held up by a webhook that never answers', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-filed-'))
  const filed = join(folder, 'mail')
  const peer = await startPeer({ dot: 'silent', rcpt: { 'later@partner.test': '451 4.7.1 not now' } })
  const silent = createServer(() => {})
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    localDomains: { 'pipe.test': { deliver: 'pipe', command: ['/bin/sh', '-c', `cat > ${filed}.part; mv ${filed}.part ${filed}; sleep 1.5`] } },
    webhooks: [{ name: 'silent', url: `http://127.0.0.1:${(silent.address() as { port: number }).port}/`, secret: 'a secret of the receiver' }],
  })
  try {
    const child = await everpost.start()
    await until('the webhook is known', async () => (await everpost.sql`select from subscribers`).length === 1)
    await everpost.send('later@partner.test')
    const byProgram = await everpost.send('x@pipe.test')
    const byMx = await everpost.send('x@partner.test')
    await until('both are past the dot', () => peer.messages.length === 1 && existsSync(filed))
    const asked = () => peer.commands.filter((line) => line.startsWith('RCPT TO:<later@')).length
    const stopped = everpost.stop(child)
    await sleep(1000)
    const before = asked()
    peer.each('250 2.0.0 taken')
    await stopped
    assert.equal(asked(), before, 'what is deferred is tried every two seconds, but not by a process that stops')
    for (const id of [byProgram, byMx]) {
      const attempts = await readAttempts(everpost.sql, id, 9)
      assert.deepEqual(attempts.map(({ lost, endedAt, outcomes }) => [lost, endedAt !== null, outcomes['0']?.status]), [[false, true, 'delivered']], id)
    }
  } finally {
    await everpost.end()
    await peer.close()
    silent.closeAllConnections()
    silent.close()
    rmSync(folder, { recursive: true })
  }
})
