import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../dev/ports.ts'
import { startPeer } from '../smtp/testing.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { readAttempts } from '../store/attempts.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('a suspension is seen by all workers within a second, survives their restart, costs no backoff, and ends by word or by time', async () => {
  const [peer, other] = [await startPeer(), await startPeer()]
  const name = `[127.0.0.1]:${peer.port}`
  const routes = [{ domain: 'partner.test', nextHop: name }, { domain: 'other.test', nextHop: `[127.0.0.1]:${other.port}` }]
  const everpost = await prepareEverpost({ destinations: { resumeOver: '200ms' }, routes })
  const send = (count: number, domain: string) => Promise.all(Array.from({ length: count }, (_, i) => everpost.send(`x${i}@${domain}`)))
  try {
    // Where mail comes in no worker runs, which would take it all: it is the task queue that gives it to either.
    await everpost.start('ingress')
    const workers = [await everpost.start('worker'), await everpost.start('worker')]
    await until('both workers have made attempts', async () => {
      for (const id of await send(4, 'other.test')) await everpost.states(id)
      return (await everpost.sql`select distinct worker from attempts`).length === workers.length
    })
    assert.equal((await everpost.command('destination', 'suspend', name, '--for', '1h', '--why', 'they are moving')).code, 0)
    await sleep(1000)
    const waiting = await send(16, 'partner.test')
    const waits = (id: string) => until('it waits', async () => (await readRecipients(everpost.sql, id, 1))[0]!.waits)
    for (const id of waiting) assert.match(await waits(id), /is suspended until .* they are moving/)
    for (const child of workers) await everpost.stop(child, 'SIGKILL')
    await everpost.start('worker')
    waiting.push(await everpost.send('d@partner.test'))
    await waits(waiting.at(-1)!)
    assert.equal(peer.connections, 0)
    const count = waiting.length
    const shown = JSON.parse((await everpost.command('destination', 'show', name, '--json')).stdout)
    assert.deepEqual([shown.state, shown.queued, shown.waiting], ['suspended', count, count])

    const { stdout } = await everpost.command('destination', 'resume', name)
    assert.match(stdout, new RegExp(`${count} messages that waited come within`))
    for (const id of waiting) {
      assert.deepEqual(await everpost.states(id), ['delivered'])
      const [recipient] = await readRecipients(everpost.sql, id, 1)
      assert.deepEqual([recipient!.attempts, recipient!.waits, (await readAttempts(everpost.sql, id, 9)).length], [1, null, 1])
    }

    await until('the traffic is counted', async () => {
      const { delivered, success, queued, lastText } = JSON.parse((await everpost.command('destination', 'show', name, '--json')).stdout)
      return delivered === count && success === 1 && queued === 0 && /250 2\.0\.0 taken/.test(lastText)
    })

    await everpost.command('destination', 'suspend', name, '--for', '3s')
    await until('it is in force', async () => {
      const id = await everpost.send('e@partner.test')
      await until('it is decided', async () => (await readRecipients(everpost.sql, id, 1))[0]!.waits || (await readRecipients(everpost.sql, id, 1))[0]!.state === 'delivered')
      waiting.push(id)
      return (await readRecipients(everpost.sql, id, 1))[0]!.waits
    })
    assert.deepEqual(await everpost.states(waiting.at(-1)!), ['delivered'])

    await everpost.command('destination', 'suspend', name, '--for', '7d', '--why', 'a slip')
    await sleep(1000)
    const corrected = await everpost.send('f@partner.test')
    assert.match(await waits(corrected), /a slip/)
    await everpost.command('destination', 'suspend', name, '--for', '2s')
    assert.deepEqual(await everpost.states(corrected), ['delivered'])
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), other.close()])
  }
})

test('each of two workers heeds a suspension within a second, while it goes on with other mail', async () => {
  const [peer, other] = [await startPeer(), await startPeer()]
  const name = `[127.0.0.1]:${peer.port}`
  const routes = [{ domain: 'partner.test', nextHop: name }, { domain: 'other.test', nextHop: `[127.0.0.1]:${other.port}` }]
  const everpost = await prepareEverpost({ routes })
  const { sql } = everpost
  let sending = true
  let sent: Promise<void> | null = null
  try {
    await everpost.start('ingress')
    for (let i = 0; i < 2; i++) await everpost.start('worker')
    // One worker makes the first pass over both recipients, so the attempt for the other tells which one let the suspended one wait.
    const stream = async () => {
      for (; sending; await sleep(30)) await everpost.send(['x@partner.test', 'x@other.test'])
    }
    sent = stream()
    const workersAt = async (nextHop: string) => (await sql<{ worker: string }[]>`select distinct worker from attempts where next_hop = ${nextHop} order by worker`).map((row) => row.worker)
    await until('both workers have made attempts', async () => (await workersAt(name)).length === 2)
    assert.equal((await everpost.command('destination', 'suspend', name, '--for', '1h')).code, 0)

    // Whose mail was accepted more than a second after that, by the clock that wrote both; the clients' is not asked.
    const heeded = () => sql<{ worker: string; waits: number; attempted: number }[]>`
      select o.worker, count(*) filter (where r.waits like '%is suspended until%' and p.number is null)::int as waits, count(p.number)::int as attempted
      from destinations d join messages m on m.accepted_at > d.suspended_at + interval '1 second'
        join recipients r on r.message_id = m.id and r.domain = 'partner.test'
        join attempts o on o.message_id = m.id and o.next_hop <> ${name}
        left join attempts p on p.message_id = m.id and p.next_hop = ${name}
      where d.name = ${name} group by o.worker order by o.worker`
    await until('both have let mail wait', async () => (await heeded()).filter(({ waits }) => waits >= 5).length === 2)
    sending = false
    await sent
    const seen = await heeded()
    assert.deepEqual(seen.map(({ worker }) => worker), await workersAt(name))
    assert.deepEqual(seen.map(({ attempted }) => attempted), [0, 0])
  } finally {
    sending = false
    await sent?.catch(() => {})
    await everpost.end()
    await Promise.all([peer.close(), other.close()])
  }
})

test('a suspended message expires at its time all the same, and its report says why it waited', async () => {
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: '[127.0.0.1]:1' }], retry: { maximalQueueLifetime: '3s' } })
  try {
    await everpost.start()
    await everpost.command('destination', 'suspend', '[127.0.0.1]:1')
    await sleep(1000)
    const id = await everpost.send('a@partner.test', 'bob@example.test')
    assert.deepEqual(await everpost.states(id), ['expired'])
    const report = await until('the report arrives', () => everpost.maildir('bob')[0])
    assert.match(report, /Status: 4\.4\.7\nDiagnostic-Code: X-Everpost; \[127\.0\.0\.1\]:1 is suspended/)
  } finally {
    await everpost.end()
  }
})

test('a rule suspends a destination by what it says, and other destinations do not wait', async () => {
  const peer = await startPeer({ rcpt: { '*': '421 4.7.0 your address is on our list for today' } })
  const other = await startPeer()
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }, { domain: 'other.test', nextHop: `[127.0.0.1]:${other.port}` }],
    retry: { rules: [{ name: 'listed', match: { text: 'on our list' }, then: { action: 'suspendDestination', for: '1h' } }] },
  })
  try {
    await everpost.start()
    const id = await everpost.send('a@partner.test')
    await until('it is suspended', async () => JSON.parse((await everpost.command('destination', 'list', '--json')).stdout).some((each: { state: string }) => each.state === 'suspended'))
    const { connections } = peer
    await sleep(1000)
    const second = await everpost.send('b@partner.test')
    await until('it waits', async () => (await readRecipients(everpost.sql, second, 1))[0]!.waits)
    assert.equal(peer.connections, connections)
    assert.equal((await readRecipients(everpost.sql, id, 1))[0]!.outcome?.rule?.name, 'listed')
    assert.deepEqual(await everpost.states(await everpost.send('a@other.test')), ['delivered'])
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), other.close()])
  }
})

test('domains with the same MX hosts are one destination; one of them alone is suspended as a next hop', async () => {
  const port = await freePort()
  const peer = await startPeer({}, '127.0.0.2', port)
  const mx = [{ preference: 10, exchange: 'mx1.host.test' }, { preference: 20, exchange: 'mx2.host.test' }]
  const dns = await startDnsServer({ 'a.test/MX': mx, 'b.test/MX': [...mx].reverse(), 'mx1.host.test/A': ['127.0.0.2'], 'mx2.host.test/A': ['127.0.0.2'] })
  const everpost = await prepareEverpost({
    dns: { servers: [dns.server] }, destinations: { resumeOver: '100ms' }, routes: ['a.test', 'b.test'].map((domain) => ({ domain, nextHop: `${domain}:${port}` })),
  })
  const waits = (id: string) => until('it waits', async () => (await readRecipients(everpost.sql, id, 1))[0]!.waits)
  try {
    await everpost.start()
    const both = `mx1.host.test,mx2.host.test:${port}`
    await everpost.command('destination', 'suspend', both)
    await sleep(1000)
    const ids = [await everpost.send('x@a.test'), await everpost.send('x@b.test')]
    for (const id of ids) assert.match(await waits(id), /mx1\.host\.test,mx2\.host\.test/)
    await everpost.command('destination', 'resume', both)
    for (const id of ids) assert.deepEqual(await everpost.states(id), ['delivered'])

    await everpost.command('destination', 'suspend', `a.test:${port}`)
    await sleep(1000)
    await waits(await everpost.send('y@a.test'))
    assert.deepEqual(await everpost.states(await everpost.send('y@b.test')), ['delivered'])
  } finally {
    await everpost.end()
    await Promise.all([peer.close(), dns.close()])
  }
})
