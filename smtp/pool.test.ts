// One connection carries many messages, and a connection that died while it waited costs no attempt.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AttemptResult } from '../mail/outcome.ts'
import { until } from '../test/support/until.ts'
import { createDns } from './dns.ts'
import { loadHopOptions, type RouteOptions } from './hop-options.ts'
import { createPool, type Pool, type PoolLimits } from './pool.ts'
import { type Answer, type Peer, recipientsOf, type Script, startPeer, testRequest } from './testing.ts'
import { makeTestCa } from './testing-ca.ts'
import { plainTls } from './tls.ts'
import { transfer, type TransferRequest } from './transfer.ts'

const dns = createDns({ servers: [], timeout: 1000 })

interface Bench {
  peer: Peer
  pool: Pool
  /** Sends one message; its outcomes in brief. */
  send(change?: Partial<TransferRequest>): Promise<string[]>
  /** What the last message sent came to. */
  last(): AttemptResult
  verbs(): string[]
}

/** `script` may be changed while it runs. */
async function bench(script: Script, use: (bench: Bench) => Promise<void>, limits: Partial<PoolLimits> = {}) {
  const pool = createPool({ idle: 10_000, age: 60_000, messages: 100, connections: 10, ...limits })
  const peer = await startPeer(script)
  let result: AttemptResult
  const send = async (change: Partial<TransferRequest> = {}) => {
    result = await transfer(testRequest(peer.port, { recipients: recipientsOf('a@x.test'), ...change }), { dns, pool })
    return Object.values(result.outcomes).map(({ status, phase, enhanced }) => `${status} ${phase} ${enhanced}`)
  }
  try {
    await use({ peer, pool, send, last: () => result, verbs: () => peer.commands.map((line) => line.split(' ')[0]!) })
  } finally {
    pool.close()
    await peer.close()
  }
}

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
    await until('it is told so', () => verbs().includes('QUIT'))
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
  assert.equal(await connectionsWith({}, 0, { extensions: ['LIMITS MAILMAX=0 XMAILMAX=1'] }), 1, 'what states no limit')
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
    })
    assert.equal(peer.connections, 2)
  }, { idle: 300 })
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
      if (name.startsWith('a refusal')) await until('the old one is closed', () => verbs().includes('QUIT'))
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
    await send({ protocol: 'lmtp' })
    assert.equal(peer.connections, 5)
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

test('452 4.5.3 splits the batch: those accepted go out, the others follow at once on the same connection', async () => {
  for (const script of [{ rcptMost: 2 }, { rcptMost: 2, extensions: ['PIPELINING'] }]) {
    await bench(script, async ({ peer, send, verbs }) => {
      const told: number[] = []
      const outcomes = await send({
        recipients: recipientsOf('a@x.test', 'b@x.test', 'c@x.test', 'd@x.test', 'e@x.test'),
        partly: async (soFar) => { told.push([...soFar.values()].filter(({ status }) => status === 'delivered').length) },
      })
      assert.deepEqual(outcomes, Array.from({ length: 5 }, () => delivered[0]))
      assert.deepEqual([peer.connections, peer.messages.length, verbs().filter((verb) => verb === 'MAIL').length], [1, 3, 3])
      assert.deepEqual(told, [2, 4])
    })
  }
})

test('452 to the first recipient, or with another reason, puts off; a host that puts off the dot is not asked again', async () => {
  await bench({ rcpt: { '*': '452 4.5.3 too many' } }, async ({ send }) => {
    assert.deepEqual(await send({ recipients: recipientsOf('a@x.test', 'b@x.test') }), ['deferred rcpt 4.5.3', 'deferred rcpt 4.5.3'])
  })
  await bench({ rcpt: { 'b@x.test': '452 4.2.2 full' } }, async ({ peer, send }) => {
    assert.deepEqual(await send({ recipients: recipientsOf('a@x.test', 'b@x.test') }), [delivered[0], 'deferred rcpt 4.2.2'])
    assert.equal(peer.messages.length, 1)
  })
  await bench({ rcptMost: 1, dot: '451 4.3.0 later', rcpt: { 'no@x.test': '550 5.1.1 no' } }, async ({ peer, send }) => {
    const four = recipientsOf('no@x.test', 'a@x.test', 'b@x.test', 'c@x.test')
    assert.deepEqual(await send({ recipients: four }), ['bounced rcpt 5.1.1', 'deferred dot 4.3.0', 'deferred rcpt 4.5.3', 'deferred rcpt 4.5.3'])
    assert.equal(peer.messages.length, 1)
  })
})

test('552 in its place splits the batch, too, unless its enhanced code speaks against it', async () => {
  for (const full of ['552 Too many recipients', '552 5.5.3 Too many recipients']) {
    const answers = [full]
    const script: Script = { rcpt: { get 'b@x.test'() { return answers.shift() ?? '250 2.1.5 ok' } } }
    await bench(script, async ({ peer, send }) => {
      assert.deepEqual(await send({ recipients: recipientsOf('a@x.test', 'b@x.test') }), [delivered[0], delivered[0]])
      assert.deepEqual([peer.connections, peer.messages.length], [1, 2])
    })
  }
  await bench({ rcpt: { 'b@x.test': '552 5.2.2 mailbox full' } }, async ({ send }) => {
    assert.deepEqual(await send({ recipients: recipientsOf('a@x.test', 'b@x.test') }), [delivered[0], 'bounced rcpt 5.2.2'])
  })
})

test('a connection that is logged in serves that login alone', async () => {
  const login = (id: string) => ({ auth: { id, user: id, mechanism: null, clearText: true, secret: async () => 'x' } })
  await bench({ extensions: ['AUTH PLAIN'] }, async ({ peer, send, verbs }) => {
    for (const change of [login('one'), login('two'), {}, login('one'), login('two'), {}]) assert.deepEqual(await send(change), delivered)
    assert.deepEqual([peer.connections, verbs().filter((verb) => verb === 'AUTH').length], [3, 2])
  })
})

test('LIMITS (RFC 9422): RCPTMAX, RCPTDOMAINMAX and MAILMAX are kept to without being told by 452', async () => {
  const recipients = recipientsOf('a@x.test', 'b@x.test', 'c@y.test', 'd@y.test', 'e@y.test')
  const shape = async (limits: string) => {
    let found: number[] = []
    await bench({ extensions: [`LIMITS ${limits}`] }, async ({ peer, send, verbs }) => {
      assert.deepEqual(await send({ recipients }), Array.from({ length: 5 }, () => delivered[0]))
      found = [peer.connections, ...verbs().join(' ').split('MAIL').slice(1).map((each) => each.split('RCPT').length - 1)]
    })
    return found
  }
  assert.deepEqual(await shape('RCPTMAX=2'), [1, 2, 2, 1])
  assert.deepEqual(await shape('RCPTDOMAINMAX=1'), [1, 2, 3])
  assert.deepEqual(await shape('RCPTMAX=2 MAILMAX=1'), [3, 2, 2, 1])
})

test('no transaction has more than 500 recipients, and one on a new connection goes by what that offers', async () => {
  const many = Array.from({ length: 501 }, (_, i) => `r${i}@x.test`)
  const script: Script = { extensions: ['DSN', 'LIMITS MAILMAX=1'] }
  await bench(script, async ({ peer, send, last }) => {
    const partly = async () => { delete script.extensions }
    const outcomes = await send({ recipients: recipientsOf(...many), envelope: { ...testRequest(0).envelope, ret: 'HDRS' }, partly })
    assert.deepEqual([new Set(outcomes), outcomes.length, peer.connections], [new Set(delivered), 501, 2])
    const words = peer.commands.map((line) => line.slice(0, 4)).join(' ').split('MAIL').slice(1).map((each) => each.split('RCPT').length - 1)
    assert.deepEqual([words, peer.commands.filter((line) => line.startsWith('MAIL'))], [[500, 1], ['MAIL FROM:<s@a.test> RET=HDRS', 'MAIL FROM:<s@a.test>']])
    assert.deepEqual([last().outcomes[0]!.dsnPassedOn, last().outcomes[500]!.dsnPassedOn], [true, false])
  })
})

test('that a dot was sent is not forgotten since the next transaction came to nothing', async () => {
  const mail = ['250 2.1.0 ok', '451 4.3.0 later', '451 4.3.0 later']
  await bench({ extensions: ['LIMITS RCPTMAX=1'], get mail() { return mail.shift()! } }, async ({ send, last }) => {
    assert.deepEqual(await send({ recipients: recipientsOf('a@x.test', 'b@x.test') }), [delivered[0], 'deferred mail 4.3.0'])
    assert.deepEqual([last().dotSent, last().tries.map(({ dotSent }) => dotSent)], [true, [true]])
  })
})

test('whoever was not asked for is put off, whatever became of those before: never bounced with them, never delivered', async () => {
  const four = { recipients: recipientsOf('a@x.test', 'b@x.test', 'c@x.test', 'd@x.test') }
  const extensions = ['LIMITS RCPTMAX=2']
  await bench({ extensions, rcpt: { 'a@x.test': '550 5.1.1 no' }, data: '554 5.6.0 no' }, async ({ send }) => {
    assert.deepEqual(await send(four), ['bounced rcpt 5.1.1', 'bounced data 5.6.0', 'deferred rcpt 4.4.2', 'deferred rcpt 4.4.2'])
  })
  await bench({ extensions, rcpt: { 'a@x.test': '550 5.1.1 no' }, data: '451 4.6.0 no' }, async ({ send }) => {
    assert.deepEqual(await send(four), ['bounced rcpt 5.1.1', 'deferred data 4.6.0', 'deferred data 4.6.0', 'deferred data 4.6.0'])
  })
  await bench({ extensions, dot: ['250 2.0.0 ok', '421 4.3.2 bye'] }, async ({ peer, send }) => {
    assert.deepEqual(await send({ ...four, protocol: 'lmtp' }), [delivered[0], 'deferred dot 4.3.2', 'deferred rcpt 4.4.2', 'deferred rcpt 4.4.2'])
    assert.equal(peer.messages.length, 1)
  })
  await bench({ extensions, mail: '550 5.7.1 not you' }, async ({ send }) => {
    assert.deepEqual(await send(four), Array.from({ length: 4 }, () => 'bounced mail 5.7.1'))
  })
  await bench({ extensions }, async ({ send }) => {
    const mixed = recipientsOf('jörg@x.test', 'jürg@x.test', 'c@x.test', 'd@x.test', 'e@x.test')
    assert.deepEqual(await send({ recipients: mixed }), ['bounced rcpt 5.6.7', 'bounced rcpt 5.6.7', delivered[0], delivered[0], delivered[0]])
  })
})
