import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, Connection } from '@temporalio/client'
import { startPeer } from '../smtp/testing.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { statusQuery } from '../workflows/interface.ts'
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
