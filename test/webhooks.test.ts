import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { turnClock } from './support/database.ts'
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

test('each webhook is told, signed and in order for each message, whatever another does; after a crash nothing is missing; given up after its time, kept as a dead letter', async () => {
  const script = { rcpt: { 'gone@partner.test': '550 5.1.1 no', 'later@partner.test': '451 4.7.1 not now' } as Record<string, string> }
  const peer = await startPeer(script)
  const all = await startReceiver()
  const some = await startReceiver()
  // Takes connections, and never answers.
  const silent = createServer(() => {})
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const everpost = await prepareEverpost({
    retry: { minimalBackoffTime: '1h' },
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    webhooks: [{ name: 'all', url: all.url, secret, minimalBackoffTime: '10m' }, { name: 'some', url: some.url, secret, events: ['bounced'] },
      { name: 'silent', url: `http://127.0.0.1:${(silent.address() as { port: number }).port}/`, secret }],
  }, undefined, { clock: true })
  const { sql } = everpost
  const told = (id: string) => all.received.filter((event) => event.data.id === id).map((event) => event.type)
  try {
    const child = await everpost.start()
    await until('the webhooks are known', async () => (await sql`select from subscribers`).length === 3)
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
    await until('it has failed', async () => all.refused > 0 && (await sql`select from webhook_queue where webhook = 'all' and problem is not null`).length > 0)
    // In vain again, and in order: nothing of this message overtakes what failed.
    await turnClock(sql, 15)
    await until('it has failed again', async () => (await sql`select from webhook_queue where webhook = 'all' and attempts >= 2`).length > 0)
    assert.equal((await sql`select from webhook_queue where webhook = 'all' and message_id = ${id} and attempts > 0`).length, 1)
    assert.match((await everpost.command('webhooks')).stdout, /all +\d+ .*HTTP 503/)
    await everpost.stop(child, 'SIGKILL')
    all.status = 204
    await everpost.start()
    await turnClock(sql, 30)
    await until('what was missed is told', () => told(id).includes('replayed'))
    const ids = all.received.filter((event) => event.data.id === id).map((event) => Number.parseInt(event.id, 10))
    assert.deepEqual(ids, [...ids].sort((a, b) => a - b))
    assert.equal(new Set(ids).size, ids.length)

    await until('all is told', async () => (await sql`select from webhook_queue where webhook <> 'silent'`).length === 0)
    assert.ok((await sql`select from webhook_queue where webhook = 'silent'`).length > 6, 'the silent one has taken nothing, and held up nobody')
    all.status = 500
    const lost = await everpost.send('ok@partner.test', 'bob@example.test')
    // Else events of it would be younger than the turn of the clock.
    await everpost.states(lost)
    await until('it has failed', async () => (await sql`select from webhook_queue where message_id = ${lost} and attempts > 0`).length > 0)
    await until('it has failed once', async () => (await sql`select from webhook_queue where webhook = 'all' and dead_at is null and problem is not null`).length === 1)
    await turnClock(sql, 4 * 24 * 60)
    await until('all of it is given up', async () => (await sql`select from webhook_queue where message_id = ${lost} and webhook = 'all' and dead_at is not null`).length === 3)
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
    silent.closeAllConnections()
    silent.close()
  }
})

test('a receiver that fails for an hour is asked with growing pauses, and then told all that it missed, in order', async () => {
  const receiver = await startReceiver()
  // The queue of webhooks knows no clock but that of Postgres, and that one the test turns.
  const everpost = await prepareEverpost({ webhooks: [{ name: 'w', url: receiver.url, secret, minimalBackoffTime: '10m', maximalBackoffTime: '1h' }] }, undefined, { clock: true })
  const { sql } = everpost
  const turned = async (minutes: number) => {
    // An attempt under way is not due, and its end is not yet recorded: whoever turns the clock meanwhile would move its next time.
    await sql`update webhook_queue set problem = attempts::text where attempts > 0`
    await turnClock(sql, minutes)
    await until('what is due was tried', async () => (await sql`
      select from webhook_queue where next_at <= now() or next_at > now() + interval '1 hour'
        or (attempts > 0 and coalesce(problem, (attempts - 1)::text) = (attempts - 1)::text)`).length === 0)
  }
  try {
    await everpost.start()
    await until('the webhook is known', async () => (await sql`select from subscribers`).length === 1)
    receiver.status = 503
    const id = await everpost.send(['carol@example.test', 'dora@example.test'])
    await everpost.states(id)
    await until('all that happened is in the queue, and the first was tried', async () => (await sql`select from webhook_queue`).length === 4
      && (await sql`select from webhook_queue where problem is not null`).length === 1 && receiver.refused === 1)
    const tries: number[] = []
    for (let minute = 0; minute < 60; minute += 3) {
      await turned(3)
      tries.push(receiver.refused)
    }
    // Due after 10 to 11 minutes, 20 to 22 later, and 40 to 44 after that; only the first of the message was ever tried.
    assert.deepEqual([tries[2], tries[3], tries[8], tries[11], tries[19]], [1, 2, 2, 3, 3])
    assert.deepEqual((await sql`select attempts from webhook_queue order by seq`).map(({ attempts }) => attempts), [3, 0, 0, 0])
    receiver.status = 204
    await turned(6)
    assert.equal(receiver.received.length, 0, 'not before its time')
    for (let minute = 0; minute < 15; minute += 3) await turned(3)
    await until('all is told', () => receiver.received.length === 4)
    assert.deepEqual(receiver.received.map(({ type }) => type).sort(), ['accepted', 'attempt', 'delivered', 'delivered'])
    assert.ok(receiver.received.every(({ data }) => data.id === id))
    const order = receiver.received.map((event) => Number.parseInt(event.id, 10))
    assert.deepEqual([order, receiver.faults], [[...order].sort((a, b) => a - b), []])
  } finally {
    await everpost.end()
    await receiver.close()
  }
})
