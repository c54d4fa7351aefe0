import assert from 'node:assert/strict'
import { userInfo } from 'node:os'
import { test } from 'node:test'
import { freePort } from '../dev/ports.ts'
import { startPeer } from '../smtp/testing.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('a destination that fails for many messages opens its circuit: one probe at a time at growing pauses, the rest wait and come once it answers', async () => {
  const [port, failing] = [await freePort(), { greeting: '421 4.3.2 closed for now' } as { greeting?: string }]
  const peer = await startPeer(failing, '127.0.0.1', port)
  const other = await startPeer()
  const name = `[127.0.0.1]:${port}`
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: name }, { domain: 'other.test', nextHop: `[127.0.0.1]:${other.port}` }],
    retry: { minimalBackoffTime: '200ms', maximalBackoffTime: '300ms' },
    destinations: { circuitFailures: 3, circuitPause: '1s', circuitMaximalPause: '6s', resumeOver: '300ms' },
  })
  try {
    await everpost.start()
    await everpost.start('worker')
    const ids = await Promise.all(Array.from({ length: 12 }, (_, i) => everpost.send(`x${i}@partner.test`)))
    const row = async () => (await everpost.sql<{ step: number; open: boolean }[]>`
      select circuit_step as step, circuit_until is not null as open from destinations where name = ${name}`)[0]
    await until('the circuit is open', async () => (await row())?.open)
    // But for the one that probes, and one that has just probed.
    const waiting = async () => (await Promise.all(ids.map((id) => readRecipients(everpost.sql, id, 1)))).filter(([recipient]) => recipient!.waits).length
    await until('the others wait', async () => (await waiting()) >= ids.length - 2)
    const { connections } = peer
    const step = (await row())!.step
    await until('two more probes have failed', async () => (await row())!.step >= step + 2)
    assert.ok(peer.connections - connections <= 3, `${peer.connections - connections} connections for two probes`)
    assert.deepEqual(await everpost.states(await everpost.send('a@other.test')), ['delivered'])
    assert.match((await everpost.command('destination', 'show', name)).stdout, /circuit open[\s\S]*Circuit {5}open since .* closed for now/)

    delete failing.greeting
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])
    await until('the circuit is closed', async () => !(await row())!.open)
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), other.close()])
  }
})

test('an open circuit is closed by hand: who did it is kept, and what waits comes without a probe', async () => {
  const failing: { greeting?: string } = { greeting: '421 4.3.2 closed for now' }
  const peer = await startPeer(failing)
  const name = `[127.0.0.1]:${peer.port}`
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: name }], retry: { minimalBackoffTime: '200ms', maximalBackoffTime: '300ms' },
    destinations: { circuitFailures: 3, circuitPause: '1h', circuitMaximalPause: '1h', resumeOver: '300ms' },
  })
  try {
    await everpost.start()
    await everpost.start('worker')
    const ids = await Promise.all(Array.from({ length: 6 }, (_, i) => everpost.send(`x${i}@partner.test`)))
    const circuit = async () => JSON.parse((await everpost.command('destination', 'list', '--json')).stdout).find((each: { name: string }) => each.name === name)
    await until('all wait for the circuit', async () => {
      const { state, waiting } = await circuit()
      return state === 'circuit open' && waiting === ids.length
    })
    delete failing.greeting
    assert.match((await everpost.command('destination', 'resume', name)).stdout, /is resumed: 6 messages that waited come within/)
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])
    const { state, control } = await circuit()
    assert.deepEqual([state, control.suspendedBy, control.circuitWhy], ['ok', userInfo().username, ''])
    const { code, stderr } = await everpost.command('destination', 'resume', name)
    assert.deepEqual([code, /is not suspended, nor is its circuit open/.test(stderr)], [1, true])
  } finally {
    await everpost.end()
    await peer.close()
  }
})
