// One connection carries many messages, and a connection that died while it waited costs no attempt.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../test/support/until.ts'
import { loadHopOptions, type RouteOptions } from './hop-options.ts'
import type { PoolLimits } from './pool.ts'
import { type Answer, type Peer, recipientsOf, type Script } from './testing.ts'
import { bench } from './testing-bench.ts'
import { makeTestCa } from './testing-ca.ts'
import { plainTls } from './tls.ts'

const delivered = ['delivered dot 2.0.0']

for (const extensions of [[], ['PIPELINING']]) {
  test(`many messages on one connection, without RSET between clean ones (${extensions.join() || 'plain'})`, async () => {
    await bench({ extensions }, async ({ peer, send, verbs }) => {
      for (let i = 0; i < 3; i++) assert.deepEqual(await send(), delivered)
      assert.deepEqual([peer.connections, peer.messages.length], [1, 3])
      assert.deepEqual(verbs(), ['EHLO', 'MAIL', 'RCPT', 'DATA', 'MAIL', 'RCPT', 'DATA', 'MAIL', 'RCPT', 'DATA'])
    })
  })

  test(`after a refusal RSET makes the connection ready again (${extensions.join() || 'plain'})`, async () => {
    const script: Script = { extensions, rcpt: { 'a@x.test': '550 5.1.1 no' }, ...(extensions.length > 0 ? { data: '554 5.5.1 no recipients' } : {}) }
    await bench(script, async ({ peer, send, verbs }) => {
      assert.deepEqual(await send(), ['bounced rcpt 5.1.1'])
      delete script.data
      await until('RSET is answered', () => verbs().includes('RSET'))
      await sleep(20)
      assert.deepEqual(await send({ recipients: recipientsOf('b@x.test') }), delivered)
      assert.equal(peer.connections, 1)
    })
  })
}

test('where RSET is refused the connection ends', async () => {
  await bench({ rcpt: { 'a@x.test': '550 5.1.1 no' }, rset: '502 5.5.1 what' }, async ({ peer, send, verbs }) => {
    assert.deepEqual(await send(), ['bounced rcpt 5.1.1'])
    await until('it is told so', () => verbs().includes('QUIT'), 5000)
    assert.deepEqual(await send({ recipients: recipientsOf('b@x.test') }), delivered)
    assert.equal(peer.connections, 2)
  })
})

test('a host that took DATA without a recipient is hung up on: no octet of the next message becomes one of the last', async () => {
  await bench({ extensions: ['PIPELINING'], rcpt: { 'a@x.test': '550 5.1.1 no' } }, async ({ peer, send }) => {
    assert.deepEqual(await send(), ['bounced rcpt 5.1.1'])
    assert.deepEqual(await send({ recipients: recipientsOf('b@x.test') }), delivered)
    assert.deepEqual([peer.connections, peer.messages.length], [2, 1])
  })
})

test('limits: messages, age, idle time, number; and 0 keeps none', async () => {
  const connectionsWith = async (limits: Partial<PoolLimits>, pause = 0, script: Script = {}) => {
    let connections = 0
    await bench(script, async ({ peer, send }) => {
      for (let i = 0; i < 4; i++) {
        await send()
        await sleep(pause)
      }
      connections = peer.connections
    }, limits)
    return connections
  }
  assert.equal(await connectionsWith({ messages: 2 }), 2)
  assert.equal(await connectionsWith({ idle: 0 }), 4)
  assert.equal(await connectionsWith({ idle: 5 }, 40), 4)
  assert.equal(await connectionsWith({ age: 1 }, 10), 4)
  assert.equal(await connectionsWith({ connections: 0 }), 4)
  assert.equal(await connectionsWith({}, 0, { extensions: ['LIMITS RCPTMAX=100 MAILMAX=2'] }), 2)
  assert.equal(await connectionsWith({}, 0, { extensions: ['LIMITS XMAILMAX=1 MAILMAX=0'] }), 1, 'what states no limit')
})

test('of more connections than may wait the longest waiting goes; a pool that is closed keeps none', async () => {
  await bench({}, async ({ peer, pool, send }) => {
    const connections = []
    for (const helo of ['a', 'b', 'c', 'c', 'b', 'a']) {
      assert.deepEqual(await send({ helo }), delivered)
      connections.push(peer.connections)
    }
    assert.deepEqual(connections, [1, 2, 3, 3, 3, 4])
    pool.close()
    for (let i = 0; i < 2; i++) await send()
    assert.equal(peer.connections, 6)
  }, { connections: 2 })
})

test('the one that waited shortest is used first, so that what is not needed goes', async () => {
  await bench({}, async ({ peer, send, verbs }) => {
    await Promise.all([send(), send()])
    await until('one of two has idled out', async () => {
      await send()
      return verbs().includes('QUIT')
    }, 20_000)
    assert.equal(peer.connections, 2)
  }, { idle: 1000, messages: 10_000 })
})

test('messages side by side never share a connection at one time', async () => {
  await bench({}, async ({ peer, send }) => {
    const all = await Promise.all(Array.from({ length: 5 }, () => send()))
    assert.deepEqual(all, Array.from({ length: 5 }, () => delivered))
    assert.equal(peer.connections, 5)
    await Promise.all(Array.from({ length: 5 }, () => send()))
    assert.deepEqual([peer.connections, peer.messages.length], [5, 10])
  })
})

const deaths: [string, (peer: Peer, mail: Answer[]) => void][] = [
  ['closed by the host', (peer) => peer.each('close')],
  ['421 while it waited', (peer) => peer.each('421 4.4.2 idle too long')],
  ['something unasked while it waited', (peer) => peer.each('250 2.0.0 what')],
  ['half a reply while it waited', (peer) => peer.each('250-2.0.0 what')],
  ['421 in reply to MAIL', (_, mail) => mail.push('421 4.4.2 bye')],
  ['a refusal for good in reply to MAIL', (_, mail) => mail.push('554 5.7.0 too many mails in one session')],
  ['a refusal for now in reply to MAIL', (_, mail) => mail.push('450 4.7.1 too many mails in one session')],
  ['loss in reply to MAIL', (_, mail) => mail.push('close')],
  ['silence in reply to MAIL', (_, mail) => mail.push('silent')],
]
for (const [name, kill] of deaths) {
  test(`dead while it waited (${name}): the message goes by a new connection, as if it had never been`, async () => {
    const mail: Answer[] = []
    const script = { get mail() { return mail.shift() ?? '250 2.1.0 ok' } }
    await bench(script, async ({ peer, send, last, verbs }) => {
      await send()
      kill(peer, mail)
      const heard = mail.length === 0 // before anything is said on it again
      await sleep(20)
      assert.deepEqual(await send(), delivered)
      assert.deepEqual([peer.connections, peer.messages.length, verbs().filter((verb) => verb === 'MAIL').length], [2, 2, heard ? 2 : 3])
      assert.equal(last().tries[0]!.reused, undefined)
      if (name.startsWith('a refusal')) await until('the old one is closed', () => verbs().includes('QUIT'), 5000)
    })
  })
}

test('dead while it waited, after a message that was too large for it: the next goes by a new connection, too', async () => {
  for (const end of ['close', '421 4.4.2 idle too long', '554 5.7.0 idle too long']) {
    const mail: Answer[] = [end]
    await bench({ extensions: ['SIZE 1000'], get mail() { return mail.shift() ?? '250 2.1.0 ok' } }, async ({ peer, send }) => {
      assert.deepEqual(await send({ size: 5000 }), ['bounced mail 5.3.4'], end)
      assert.deepEqual(await send(), delivered, end)
      assert.equal(peer.connections, 2)
    })
  }
})

test('a new connection that dies is no such case: the attempt fails', async () => {
  await bench({ mail: 'close' }, async ({ peer, send }) => {
    assert.deepEqual(await send(), ['deferred mail 4.4.2'])
    assert.equal(peer.connections, 1)
  })
})

test('MAIL refused on a connection that is used again: a new one is asked, once, and its answer counts', async () => {
  for (const extensions of [[], ['PIPELINING']]) {
    const script: Script = { extensions }
    await bench(script, async ({ peer, send, verbs }) => {
      await send()
      script.mail = '550 5.7.1 not you'
      assert.deepEqual(await send(), ['bounced mail 5.7.1'])
      assert.deepEqual([peer.connections, verbs().filter((verb) => verb === 'MAIL').length], [2, 3])
    })
    // The same between two transactions of one attempt.
    const mail = ['250 2.1.0 ok', '554 5.7.0 one mail in one session']
    await bench({ extensions: [...extensions, 'LIMITS RCPTMAX=2'], get mail() { return mail.shift() ?? '250 2.1.0 ok' } }, async ({ peer, send }) => {
      const four = recipientsOf('a@x.test', 'b@x.test', 'c@x.test', 'd@x.test')
      assert.deepEqual(await send({ recipients: four }), Array.from({ length: 4 }, () => delivered[0]))
      assert.deepEqual([peer.connections, peer.taken], [2, four.map(({ forwardPath }) => forwardPath)])
    })
  }
})

test('after the dot nothing is sent again on a new connection, waited or not', async () => {
  const script: Script = {}
  await bench(script, async ({ peer, send }) => {
    await send()
    script.dot = 'close'
    assert.deepEqual(await send(), ['deferred dot 4.4.2'])
    assert.deepEqual([peer.connections, peer.messages.length], [1, 2])
  })
})

test('what makes connections different keeps them apart', async () => {
  await bench({}, async ({ peer, send }) => {
    await send()
    await send({ tls: async () => plainTls('none') })
    await send({ helo: 'other.test' })
    await send({ tls: async () => ({ ...plainTls('may'), id: '[relay]:587' }) })
    await send({ source: { ipv4: '127.0.0.2' } })
    await send({ protocol: 'lmtp' })
    assert.equal(peer.connections, 6)
  })
})

test('mail of a route that asks for TLS 1.3 does not go by a connection of TLS 1.2 that another route has left', async () => {
  const route = (nextHop: string, minVersion: 'TLSv1.2' | 'TLSv1.3', servername?: string): RouteOptions =>
    ({ domain: nextHop, nextHop, tls: { level: 'encrypt', implicit: false, minVersion, servername } })
  const routes = [route('[relay.test]', 'TLSv1.2'), route('relay.test', 'TLSv1.3'), route('named.test', 'TLSv1.2', 'named.test')]
  const hopOptions = loadHopOptions(routes)
  const pair = await (await makeTestCa()).issue('relay.test')
  await bench({ extensions: ['STARTTLS'], tls: { ...pair, maxVersion: 'TLSv1.2' } }, async ({ peer, send }) => {
    const sendBy = (nextHop: string) => send({ tls: async () => hopOptions(nextHop).tls })
    assert.deepEqual(await sendBy('[relay.test]'), delivered)
    assert.deepEqual(await sendBy('relay.test'), ['deferred tls 4.7.5'])
    assert.deepEqual([await sendBy('named.test'), peer.servername], [delivered, 'named.test'])
    assert.deepEqual([await sendBy('[relay.test]'), peer.connections], [delivered, 3])
  })
})

test('a connection that is logged in serves that login alone', async () => {
  const login = (id: string) => ({ auth: { id, user: id, mechanism: null, clearText: true, secret: async () => 'x' } })
  await bench({ extensions: ['AUTH PLAIN'] }, async ({ peer, send, verbs }) => {
    for (const change of [login('one'), login('two'), {}, login('one'), login('two'), {}]) assert.deepEqual(await send(change), delivered)
    assert.deepEqual([peer.connections, verbs().filter((verb) => verb === 'AUTH').length], [3, 2])
  })
})
