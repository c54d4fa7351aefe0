import assert from 'node:assert/strict'
import { createTransport } from 'nodemailer'
import { test } from 'node:test'
import { prepareEverpost } from './support/everpost.ts'
import { testTemporal } from './support/temporal.ts'
import { until } from './support/until.ts'

test('Temporal is down: mail is accepted up to limits.outbox, 451 beyond it, and all of it delivered when Temporal is back', async () => {
  const temporal = await testTemporal()
  const everpost = await prepareEverpost({ limits: { outbox: 5 } }, temporal.address)
  try {
    await everpost.start()
    const ids: string[] = []
    for (let i = 0; i < 5; i++) ids.push(await everpost.send('carol@example.test'))
    const transport = createTransport({ host: '127.0.0.1', port: everpost.ports['smtp']!, ignoreTLS: true })
    await assert.rejects(transport.sendMail({ envelope: { from: 'a@a.test', to: 'carol@example.test' }, raw: 'x' }), /451 4\.3\.2/)
    transport.close()
    const { stdout } = await everpost.command('show', ids[0]!)
    assert.match(stdout, /carol@example\.test/)

    await temporal.start()
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(everpost.maildir('carol').length, 5)
    const id = await until('mail is accepted again', () => everpost.send('carol@example.test').catch(() => null))
    assert.deepEqual(await everpost.states(id), ['delivered'])
  } finally {
    await everpost.end()
    await temporal.end()
  }
})

test("Temporal's database is wiped: a message that waits is driven on from our tables, and sent once", async () => {
  const temporal = await testTemporal()
  await temporal.start()
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '3s' }, routes: [{ domain: 'down.test', nextHop: '[127.0.0.1]:1' }] }, temporal.address)
  try {
    const child = await everpost.start()
    const id = await everpost.send(['x@down.test', 'carol@example.test'])
    await everpost.states(id, (states) => states[1] === 'delivered')
    await everpost.stop(child)
    await temporal.stop()
    temporal.wipe()
    await temporal.start()
    await everpost.start()
    // The watch over lost workflows looks two minutes after something was due; the scenario does not wait for the clock.
    await everpost.sql`update messages set drive_at = now() where id = ${id}`
    const attempts = async () => (await everpost.sql<{ count: number }[]>`select count(*) from attempts where message_id = ${id} and ended_at is not null`)[0]!.count
    const before = await attempts()
    await until('a workflow drives it again', async () => (await attempts()) > before)
    assert.deepEqual(await everpost.states(id, () => true), ['queued', 'delivered'])
    assert.equal(everpost.maildir('carol').length, 1)
  } finally {
    await everpost.end()
    await temporal.end()
  }
})

test('Temporal is down: an ingress that is told to stop, while it asks for the start of what it accepted, ends in order', async () => {
  const everpost = await prepareEverpost({}, '127.0.0.1:1')
  try {
    for (let round = 1; round <= 4; round++) {
      const child = await everpost.start('ingress')
      const end = Date.now() + 1500
      await Promise.all(Array.from({ length: 8 }, async () => {
        while (Date.now() < end) await everpost.send('carol@example.test')
      }))
      await everpost.stop(child)
      assert.equal(child.exitCode, 0, `in round ${round}`)
    }
  } finally {
    await everpost.end()
  }
})
