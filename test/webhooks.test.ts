import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const secret = 'a secret of the receiver'

interface Received {
  id: string
  type: string
  data: { id: string; to?: string; who?: string }
}

async function startReceiver() {
  const receiver = { status: 204, received: [] as Received[], refused: 0, faults: [] as string[], url: '', close: async () => {} }
  const server = createServer(async (request, response) => {
    const body = await text(request)
    const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature } = request.headers
    const expected = `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`
    if (signature !== expected || Math.abs(Date.now() / 1000 - Number(timestamp)) > 60) receiver.faults.push(`signature of ${id}`)
    if (receiver.status < 300) receiver.received.push({ id: String(id), ...JSON.parse(body) })
    else receiver.refused++
    response.writeHead(receiver.status).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  receiver.url = `http://127.0.0.1:${(server.address() as { port: number }).port}/`
  receiver.close = async () => {
    server.closeAllConnections()
    server.close()
  }
  return receiver
}

test('each webhook is told, signed and in order for each message; one that fails for an hour misses nothing; given up after its time, kept as a dead letter', async () => {
  const script = { rcpt: { 'gone@partner.test': '550 5.1.1 no', 'later@partner.test': '451 4.7.1 not now' } as Record<string, string> }
  const peer = await startPeer(script)
  const all = await startReceiver()
  const some = await startReceiver()
  const everpost = await prepareEverpost({
    retry: { minimalBackoffTime: '1h' },
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    webhooks: [{ name: 'all', url: all.url, secret, minimalBackoffTime: '10m' }, { name: 'some', url: some.url, secret, events: ['bounced'] }],
  })
  const { sql } = everpost
  const told = (id: string) => all.received.filter((event) => event.data.id === id).map((event) => event.type)
  try {
    const child = await everpost.start()
    await until('the webhooks are known', async () => (await sql`select from subscribers`).length === 2)
    const id = await everpost.send(['ok@partner.test', 'gone@partner.test', 'later@partner.test'], 'bob@example.test')
    await everpost.states(id, (states) => states.join() === 'delivered,bounced,queued')
    await everpost.command('hold', id, '--why', 'look at it')
    await until('all is told', () => told(id).length === 6)
    assert.deepEqual(told(id).slice(0, 1), ['accepted'])
    assert.deepEqual(told(id).slice(1, 4).sort(), ['attempt', 'deferred', 'delivered'])
    assert.deepEqual(told(id).slice(4), ['bounced', 'held'])
    assert.deepEqual(some.received.map(({ type, data }) => [type, data.id, data.to]), [['bounced', id, 'gone@partner.test']])

    all.status = 503
    await everpost.command('drop', id)
    await everpost.command('replay', id, '--recipient', 'gone@*')
    await until('it has failed', () => all.refused > 0)
    // In vain again, and in order: nothing of this message overtakes what failed.
    await sql`update webhook_queue set next_at = now() - interval '1 hour' where webhook = 'all'`
    await until('it has failed again', async () => (await sql`select from webhook_queue where webhook = 'all' and attempts >= 2`).length > 0)
    assert.equal((await sql`select from webhook_queue where webhook = 'all' and message_id = ${id} and attempts > 0`).length, 1)
    assert.match((await everpost.command('webhooks')).stdout, /all +\d+ .*HTTP 503/)
    await everpost.stop(child, 'SIGKILL')
    all.status = 204
    await everpost.start()
    await sql`update webhook_queue set next_at = now() where webhook = 'all'`
    await until('what was missed is told', () => told(id).includes('replayed'))
    const ids = all.received.filter((event) => event.data.id === id).map((event) => Number(event.id))
    assert.deepEqual(ids, [...ids].sort((a, b) => a - b))
    assert.equal(new Set(ids).size, ids.length)

    await until('all is told', async () => (await sql`select from webhook_queue`).length === 0)
    all.status = 500
    const lost = await everpost.send('ok@partner.test', 'bob@example.test')
    await until('it has failed', async () => (await sql`select from webhook_queue where message_id = ${lost} and attempts > 0`).length > 0)
    await sql`update events set at = now() - interval '4 days' where message_id = ${lost}`
    for (let i = 0; i < 9; i++) {
      await sql`update webhook_queue set next_at = now() where dead_at is null`
      if (await until('one is given up', async () => (await sql`select from webhook_queue where message_id = ${lost} and dead_at is null and next_at <= now()`).length === 0)
        && (await sql`select from webhook_queue where dead_at is null`).length === 0) break
    }
    const dead = await everpost.command('webhooks', '--dead')
    assert.match(dead.stdout, new RegExp(`all +${lost} +accepted .*HTTP 500`))
    all.status = 204
    assert.match((await everpost.command('webhooks', '--retry-dead')).stdout, /^[1-9]\d* dead letters are tried again/)
    await until('the dead letters are told', () => told(lost).includes('delivered'))
    assert.deepEqual([...all.faults, ...some.faults], [])
  } finally {
    await everpost.end()
    await peer.close()
    await all.close()
    await some.close()
  }
})
