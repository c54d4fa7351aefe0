// How many recipients go into one transaction, and what becomes of the others.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recipientsOf, type Script, testRequest } from './testing.ts'
import { bench } from './testing-bench.ts'

const delivered = ['delivered dot 2.0.0']

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
