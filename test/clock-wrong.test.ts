import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { findMeans } from './chaos/means.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const { faketime } = findMeans()
const skip = faketime ? false : 'needs libfaketime (Debian: apt-get install faketime)'
if (skip && process.env['CI']) throw new Error(`CI may not skip a test: it ${skip}`)

for (const [what, offset] of [['a day ahead', '+86400'], ['a day behind', '-86400']] as const) {
  test(`a worker whose clock is ${what} tries again when it is due, lets nothing expire, and keeps to a suspension and its end`, { skip }, async () => {
    const script = { rcpt: { 'later@partner.test': '451 4.7.1 come back later' } as Record<string, string> }
    const peer = await startPeer(script)
    const everpost = await prepareEverpost({
      routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }], retry: { minimalBackoffTime: '500ms', maximalBackoffTime: '2s', maximalQueueLifetime: '10h' },
    })
    try {
      await everpost.start('ingress')
      await everpost.start('worker', { LD_PRELOAD: faketime, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_DISABLE_SHM: '1' })
      const id = await everpost.send('later@partner.test')
      await until('it is deferred', async () => (await everpost.sql`select from recipients where message_id = ${id} and attempts > 1`).length === 1)
      script.rcpt = {}
      assert.deepEqual(await everpost.states(id), ['delivered'])

      await everpost.sql`insert into destinations (name, suspended_until, suspended_by, suspended_why) values (${`[127.0.0.1]:${peer.port}`}, now() + interval '3 seconds', 'me', 'a test')`
      await everpost.sql`select pg_notify('everpost_destinations', '')`
      const held = await everpost.send('other@partner.test')
      const [waiting] = await until('it waits', async () => {
        const rows = await everpost.sql`select waits from recipients where message_id = ${held} and (waits is not null or state = 'delivered')`
        return rows.length === 1 && rows
      })
      assert.match(waiting!['waits'], /suspended/)
      assert.deepEqual(await everpost.states(held), ['delivered'])
      // Not asked again and again, either.
      const [{ attempts }] = await everpost.sql`select attempts from messages where id = ${held}` as unknown as [{ attempts: number }]
      assert.equal(attempts, 1)
    } finally {
      await everpost.end()
      await peer.close()
    }
  })
}
