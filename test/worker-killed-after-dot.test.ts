import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'

test('a worker killed after the dot: sent again by another, and the records tell the duplicate', async () => {
  const script: { dot?: string } = { dot: 'silent' }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  try {
    const child = await everpost.start()
    const id = await everpost.send('a@partner.test')
    while (peer.messages.length === 0) await sleep(20)
    await everpost.stop(child, 'SIGKILL')
    delete script.dot
    await everpost.start('worker')
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(peer.messages.length, 2)
    const attempts = await readAttempts(everpost.sql, id, 10)
    assert.deepEqual(attempts.map(({ lost, dotAt }) => [lost, dotAt !== null]), [[true, true], [false, true]])
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('ingress alone accepts while nobody works; a worker that comes later delivers', async () => {
  const everpost = await prepareEverpost()
  try {
    const ingress = await everpost.start('ingress')
    const id = await everpost.send('carol@example.test')
    await everpost.stop(ingress, 'SIGKILL')
    await everpost.start('worker')
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(everpost.maildir('carol').length, 1)
  } finally {
    await everpost.end()
  }
})
