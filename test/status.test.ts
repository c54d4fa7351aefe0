import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, Connection } from '@temporalio/client'
import { startPeer } from '../smtp/testing.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { statusQuery } from '../workflows/interface.ts'
import { newStatus, noteAttempt } from '../workflows/status.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test("the workflow's status: who was dropped or bounced by an operator's word has failed, and an expiry that was refused fails nobody", async () => {
  const peer = await startPeer({ rcpt: { '*': '451 4.7.1 not now' } })
  const everpost = await prepareEverpost({
    retry: { minimalBackoffTime: '1h', lifetimes: [{ from: ['brief@example.test'], lifetime: '8s' }] }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
  })
  const connection = await Connection.connect({ address: everpost.temporal })
  const client = new Client({ connection })
  const states = async (id: string) => (await client.workflow.getHandle(id).query(statusQuery)).recipients.map(({ state }) => state)
  try {
    await everpost.start()
    const id = await everpost.send(['a@partner.test', 'b@partner.test', 'c@partner.test', 'carol@example.test'])
    await until('they are deferred', async () => (await readRecipients(everpost.sql, id, 9)).filter(({ outcome }) => outcome).length === 4)
    assert.deepEqual(await states(id), ['queued', 'queued', 'queued', 'delivered'])
    assert.equal((await everpost.command('drop', '--recipient', 'a@partner.test', '--yes')).code, 0)
    await until('the first has failed', async () => (await states(id)).join() === 'failed,queued,queued,delivered')
    assert.equal((await everpost.command('bounce', '--recipient', 'b@partner.test', '--yes')).code, 0)
    await until('so has the second', async () => (await states(id)).join() === 'failed,failed,queued,delivered')

    // Given more time behind the back of the workflow, as by a clock that is ahead: it asks for the expiry, and is refused.
    const brief = await everpost.send('x@partner.test', 'brief@example.test')
    await until('it is deferred', async () => (await readRecipients(everpost.sql, brief, 1))[0]!.outcome)
    const { expiresAt } = (await readMessage(everpost.sql, brief))!
    await everpost.sql`update messages set expires_at = now() + interval '1 hour' where id = ${brief}`
    await until('its time has come and gone', () => Date.now() > expiresAt.getTime() + 1500)
    assert.deepEqual(await states(brief), ['queued'])
  } finally {
    await connection.close()
    await everpost.end()
    await peer.close()
  }
})

test('attempts for a thousand recipients without a next hop are told in a few thousand octets, and what the workflow keeps of them is bounded', async () => {
  const dns = await startDnsServer({})
  const everpost = await prepareEverpost({
    http: { address: '127.0.0.1', port: 0, metrics: 'open' }, dns: { servers: [dns.server] }, routes: [{ domain: 'partner.test', nextHop: 'relay.gone.test' }],
    retry: { minimalBackoffTime: '500ms', maximalBackoffTime: '500ms' },
  })
  const connection = await Connection.connect({ address: everpost.temporal })
  const client = new Client({ connection })
  try {
    await everpost.start()
    const id = await everpost.send(Array.from({ length: 1000 }, (_, i) => `u${i}@partner.test`))
    await until('it has been tried a few times', async () => (await readRecipients(everpost.sql, id, 1))[0]!.attempts >= 5)
    const { attempts } = await client.workflow.getHandle(id).query(statusQuery)
    assert.deepEqual([attempts[0]!.outcomes.length, attempts[0]!.others!.map(({ status, count }) => `${count} ${status}`)], [100, ['900 deferred']])
    const { historySize } = await client.workflow.getHandle(id).describe()
    assert.ok(historySize! / attempts.length < 60_000, `${historySize} octets for ${attempts.length} attempts`)
    assert.match(await (await fetch(`http://127.0.0.1:${everpost.ports['http']}/metrics`)).text(), /everpost_recipients_total\{status="deferred"\} [1-9]\d*000\n/)

    const status = newStatus(id, [])
    for (let number = 1; number <= 300; number++) {
      const outcomes = Array.from({ length: number % 7 === 0 ? 1000 : 100 }, (_, n) => ({ n, status: 'deferred' as const, enhanced: '4.4.3', text: 'x'.repeat(200), nextAttemptAt: null }))
      noteAttempt(status, { number, at: '', nextHop: 'relay.gone.test', tries: [], outcomes })
      assert.ok(JSON.stringify(status).length < 250_000)
    }
    assert.equal(status.attempts.at(-1)!.number, 300)
  } finally {
    await connection.close()
    await everpost.end()
    await dns.close()
  }
})
