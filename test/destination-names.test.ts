import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addTraffic } from '../store/destination-traffic.ts'
import { acceptMessage } from '../store/accept.ts'
import { readDestinations } from '../store/destinations.ts'
import { prepareEverpost } from './support/everpost.ts'
import { newMessage } from './support/messages.ts'

test('a destination goes by its name however it is typed; of one that nothing is known of the command warns', async () => {
  const everpost = await prepareEverpost()
  const names = async () => (await readDestinations(everpost.sql)).map(({ name }) => name).sort()
  const told = async (...words: string[]) => {
    const { code, stdout, stderr } = await everpost.command('destination', ...words)
    return { code, stdout, warned: /nothing is known of/.test(stderr) }
  }
  try {
    const traffic = { delivered: 1, deferred: 0, bounced: 0, lastAt: new Date(), lastText: '250 taken' }
    await addTraffic(everpost.sql, 'w1', new Map([['google', traffic], ['BigCorp', traffic]]))
    await acceptMessage(everpost.sql, newMessage(['a@gmail.com']))
    for (const [typed, name] of [['Google', 'google'], ['bigcorp', 'BigCorp'], ['Gmail.com', 'gmail.com']] as const) {
      const { code, stdout, warned } = await told('suspend', typed)
      assert.deepEqual([code, stdout.startsWith(`${name} is suspended until`), warned], [0, true, false])
    }
    const { code, warned } = await told('suspend', 'gmial.COM')
    assert.deepEqual([code, warned], [0, true])
    assert.deepEqual(await names(), ['BigCorp', 'gmail.com', 'gmial.com', 'google'])
    assert.equal((await told('resume', 'GMIAL.com')).code, 0)
    assert.match((await told('show', 'GOOGLE')).stdout, /^Destination google {2}suspended/)

    await told('limit', 'google', '--concurrency', '4')
    assert.match((await told('limit', 'Google', '--rate', '60/m')).stdout, /google is limited to 4 attempts at a time and 60 attempts a minute/)
    assert.match((await told('limit', 'google', '--rate', '1/h')).stdout, /and 1 attempt an hour, over/)
    assert.match((await told('limit', 'google', '--none')).stdout, /as the settings say/)
  } finally {
    await everpost.end()
  }
})

test('what can be no name of a destination is refused, and of a domain that a route leads elsewhere the command says where', async () => {
  const everpost = await prepareEverpost({
    routes: [{ domain: '*.partner.test', nextHop: '[127.0.0.1]:2626' }, { domain: '*', nextHop: 'relay.test' }],
    destinations: { providers: [{ name: 'Big Corp', hosts: ['*.big.test'] }] },
  })
  const suspend = (name: string) => everpost.command('destination', 'suspend', name)
  try {
    for (const wrong of ['', 'a b', '[127.0.0.1]:99999', '[x', '*.partner.test', 'ada@partner.test']) {
      const { code, stdout, stderr } = await suspend(wrong)
      assert.deepEqual([code, stdout, stderr.startsWith(`everpost: "${wrong}" can be no destination. A name is a domain or a next hop (`)], [64, '', true], stderr)
    }
    for (const words of [['limit', 'a b', '--concurrency', '1'], ['resume', 'a b']]) assert.equal((await everpost.command('destination', ...words)).code, 64)
    assert.equal((await readDestinations(everpost.sql)).length, 0)
    // A path is spelled as it is, though nothing is known of it yet: mail may be rerouted there.
    const socket = await suspend('LMTP:unix:/run/Dovecot/LMTP')
    assert.deepEqual([socket.code, (await readDestinations(everpost.sql)).map(({ name }) => name)], [0, ['lmtp:unix:/run/Dovecot/LMTP']], socket.stderr)
    await acceptMessage(everpost.sql, newMessage(['a@mx.partner.test', 'a@elsewhere.test']))
    assert.match((await suspend('mx.partner.test')).stderr, /^everpost: mail for mx\.partner\.test goes to \[127\.0\.0\.1\]:2626, .*\n$/)
    for (const right of ['Big Corp', 'elsewhere.test']) assert.deepEqual([(await suspend(right)).code, (await suspend(right)).stderr], [0, ''], right)
  } finally {
    await everpost.end()
  }
})
