import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { freePort } from '../dev/ports.ts'
import { readAttempts } from '../store/attempts.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('rules in the settings bounce, defer and set the schedule by what the peer says; the attempts say which rule it was', async () => {
  const peer = await startPeer({ rcpt: {
    'never@partner.test': '450 4.7.1 we will never take this', 'blocked@partner.test': '550 5.7.1 blocked for today', 'grey@partner.test': '450 4.7.1 Greylisted, come back soon',
  } })
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    retry: {
      minimalBackoffTime: '10m', rules: [
        { match: { code: '4xx', text: 'never take' }, then: { action: 'bounce', enhanced: '5.7.9' } },
        { name: 'for today', match: { domain: 'partner.test', enhanced: '5.7.x' }, then: { action: 'defer', for: '4h' } },
      ],
    },
  })
  try {
    await everpost.start()
    const id = await everpost.send(['never@partner.test', 'blocked@partner.test', 'grey@partner.test'])
    await everpost.states(id, (states) => states[0] === 'bounced' && states[1] === 'queued' && states[2] === 'queued')
    const [never, blocked, grey] = await readRecipients(everpost.sql, id, 3)
    assert.deepEqual([never!.outcome?.enhanced, never!.outcome?.rule?.name], ['5.7.9', 'retry.rules[0]'])
    assert.deepEqual([blocked!.outcome?.status, blocked!.outcome?.enhanced, blocked!.outcome?.rule?.name], ['deferred', '4.7.1', 'for today'])
    assert.equal(grey!.outcome?.rule?.name, 'greylisted')
    const begun = (await readAttempts(everpost.sql, id, 1))[0]!.begunAt.getTime()
    const minutes = (at: Date) => (at.getTime() - begun) / 60_000
    assert.ok(minutes(blocked!.nextAttemptAt) >= 240 && minutes(blocked!.nextAttemptAt) < 265)
    const shown = await everpost.command('destination', 'show', `[127.0.0.1]:${peer.port}`)
    assert.match(shown.stdout, /^Told {8}1 of those queued: host .* said: 450 4\.7\.1 Greylisted, come back soon .*\n {12}1 of those queued: .* 550 5\.7\.1 blocked for today/m)
    assert.ok(minutes(grey!.nextAttemptAt) >= 2 && minutes(grey!.nextAttemptAt) < 3, 'a fifth of the minimal backoff time')
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('a rule gives up the recipients at one destination sooner than the others; a replay gives them their time anew', async () => {
  const peer = await startPeer({ rcpt: { '*': '451 4.3.0 later' } })
  const everpost = await prepareEverpost({
    routes: [{ domain: '*', nextHop: `[127.0.0.1]:${peer.port}` }],
    retry: { minimalBackoffTime: '500ms', maximalBackoffTime: '500ms', rules: [{ name: 'closing', match: { domain: '*.closing.test' }, then: { schedule: ['300ms'], giveUpAfter: '2s' } }] },
  })
  const attemptsOf = async (id: string, n: number) => (await readAttempts(everpost.sql, id, 500)).filter(({ recipients }) => recipients.includes(n))
  try {
    await everpost.start()
    const id = await everpost.send(['x@shop.closing.test', 'y@staying.test'], 'bob@example.test')
    await everpost.states(id, (states) => states[0] === 'expired')
    assert.equal((await readRecipients(everpost.sql, id, 2))[1]!.state, 'queued')
    const [first, ...rest] = await attemptsOf(id, 0)
    const lasted = rest.at(-1)!.begunAt.getTime() - first!.endedAt!.getTime()
    assert.ok(rest.length >= 2 && lasted >= 1900, `the last of ${rest.length + 1} attempts came ${lasted} ms after the first`)
    const [report] = await until('the report arrives', () => everpost.maildir('bob')[0] && everpost.maildir('bob'))
    assert.match(report!, /Final-Recipient: rfc822; x@shop\.closing\.test\nAction: failed\nStatus: 4\.4\.7\n/)
    assert.doesNotMatch(report!, /y@staying/)

    const before = (await attemptsOf(id, 0)).length
    await everpost.command('replay', id, '--yes')
    await everpost.states(id, (states) => states[0] === 'queued')
    await everpost.states(id, (states) => states[0] === 'expired')
    const again = (await attemptsOf(id, 0)).length - before
    assert.ok(again >= 3, `${again} attempts after the replay`)
  } finally {
    await everpost.end()
    await peer.close()
  }
})

test('a rule gives up what an open circuit keeps from being tried, and says until when it would have been', async () => {
  const everpost = await prepareEverpost({
    routes: [{ domain: 'closing.test', nextHop: `[127.0.0.1]:${await freePort()}` }],
    retry: { minimalBackoffTime: '1s', rules: [{ name: 'closing', match: { domain: 'closing.test', phase: 'connect' }, then: { schedule: ['1s'], giveUpAfter: '6s' } }] },
    destinations: { circuitPause: '1h', circuitFailures: 3 },
  })
  try {
    await everpost.start()
    const ids = [0, 1, 2, 3].map(() => '')
    for (const i of ids.keys()) {
      ids[i] = await everpost.send(`x${i}@closing.test`, 'bob@example.test')
      if (i < 3) await until('it is tried', async () => (await readRecipients(everpost.sql, ids[i]!, 1))[0]!.outcome)
    }
    const shown = await everpost.command('show', ids[2]!)
    assert.match(shown.stdout, /x2@closing\.test {2}deferred.*, given up .* by a retry rule/)
    for (const id of ids.slice(0, 3)) assert.deepEqual(await everpost.states(id), ['expired'])
    const attempts = await Promise.all(ids.map(async (id) => (await readAttempts(everpost.sql, id, 99)).length))
    assert.ok(attempts[2]! <= 2, `${attempts} attempts: the circuit was open`)
    await until('the reports arrive', () => everpost.maildir('bob').length === 3)
    assert.match(everpost.maildir('bob')[0]!, /Action: failed\nStatus: 4\.4\.7\n/)
  } finally {
    await everpost.end()
  }
})

test('a rule asks the next MX although the first has said no for good', async () => {
  const port = await freePort()
  const first = await startPeer({ rcpt: { '*': '550 5.1.1 not in my list yet' } }, '127.0.0.2', port)
  const second = await startPeer({}, '127.0.0.3', port)
  const dns = await startDnsServer({
    'partner.test/MX': [{ preference: 10, exchange: 'first.partner.test' }, { preference: 20, exchange: 'second.partner.test' }],
    'first.partner.test/A': ['127.0.0.2'],
    'second.partner.test/A': ['127.0.0.3'],
  })
  const everpost = await prepareEverpost({
    dns: { servers: [dns.server] }, routes: [{ domain: 'partner.test', nextHop: `partner.test:${port}` }],
    retry: { rules: [{ match: { nextHop: 'first.partner.test', text: 'not in my list' }, then: { action: 'nextHost' } }] },
  })
  try {
    await everpost.start()
    const id = await everpost.send('friend@partner.test')
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.deepEqual([first.messages.length, second.messages.length], [0, 1])
  } finally {
    await everpost.end()
    await Promise.all([first.close(), second.close(), dns.close()])
  }
})

test('the lifetime goes by the sender, and one that is shortened afterwards is kept to', async () => {
  const peer = await startPeer({ rcpt: { '*': '451 4.3.0 later' } })
  const everpost = await prepareEverpost({
    routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
    retry: { minimalBackoffTime: '1h', lifetimes: [{ from: 'robot@example.test', lifetime: '1s' }] },
  })
  try {
    await everpost.start()
    const id = await everpost.send('x@partner.test', 'robot@example.test')
    assert.deepEqual(await everpost.states(id), ['expired'])
    const [report] = await until('the report arrives', () => everpost.maildir('robot')[0] && everpost.maildir('robot'))
    assert.match(report!, /Action: failed\nStatus: 4\.4\.7\n/)

    const other = await everpost.send('x@partner.test', 'bob@example.test')
    await until('it waits', async () => (await readRecipients(everpost.sql, other, 1))[0]!.outcome)
    await everpost.sql`update messages set expires_at = now() + interval '1 second', drive_at = now() where id = ${other}`
    assert.deepEqual(await everpost.states(other), ['expired'])
  } finally {
    await everpost.end()
    await peer.close()
  }
})
