import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { chooseMessages, concerning, countMatching, openDomains, type QueueFilter } from './filter.ts'
import { listQueue, queueOrders } from './queue.ts'
import { readShape } from './shape.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('a recipient is in every listing until its report is sent, of failure or of success', async () => {
  for (const [domain, state] of [['owed.test', 'notifying'], ['failing.test', 'bouncing'], ['waiting.test', 'queued'], ['done.test', 'delivered']] as const) {
    const message = newMessage([`x@${domain}`])
    await acceptMessage(sql, message)
    await sql`update recipients set state = ${state} where message_id = ${message.id}`
    if (state === 'delivered') await sql`update messages set state = 'finished' where id = ${message.id}`
  }
  assert.deepEqual((await openDomains(sql)).sort(), ['failing.test', 'owed.test', 'waiting.test'])
  assert.deepEqual((await readShape(sql, 'recipient', 9)).map(({ domain, total }) => [domain, total]), [['TOTAL', 3], ['failing.test', 1], ['owed.test', 1], ['waiting.test', 1]])
  for (const order of queueOrders) assert.deepEqual((await listQueue(sql, { limit: 9, order, filter: { domain: 'owed.test' } })).map(({ forwardPath }) => forwardPath), ['x@owed.test'])
})

test('each filter finds what it names, in every order, counted and chosen alike', async () => {
  const ids = new Map<string, string>()
  for (const name of ['plain', 'held', 'rare', 'active', 'routed', 'dropped']) {
    const message = newMessage([`${name}@f.test`, 'second@f.test'])
    message.envelope.reversePath = `${name}@sender.test`
    await acceptMessage(sql, message)
    ids.set(name, message.id)
  }
  const outcome = { text: 'host x said: 452 4.2.2 Mailbox full_1' }
  await sql`update recipients set outcome = ${sql.json(outcome)} where message_id = ${ids.get('rare')!} and n = 1`
  await sql`update recipients set leased_until = now() + interval '1 minute' where message_id = ${ids.get('active')!}`
  await sql`update recipients set route = 'mx.test' where message_id = ${ids.get('routed')!} and n = 0`
  await sql`update messages set held_at = now() where id = ${ids.get('held')!}`
  await sql`update recipients set state = 'bouncing', dropped = true where message_id = ${ids.get('dropped')!}`
  await sql`update recipients set state = 'notifying' where message_id = ${ids.get('plain')!} and n = 1`
  const found: [QueueFilter, string[]][] = [
    [concerning({ sender: 'dropped@*' }, 'drop'), []], [concerning({ recipient: 'dropped@*' }, 'expire'), []], [concerning({ sender: 'dropped@*' }, 'hold'), ['dropped']],
    [concerning({ domain: 'f.test' }, 'bounce'), ['plain', 'held', 'rare', 'active', 'routed']], [{ domain: 'f.test', owed: false }, ['plain', 'dropped']],
    [{ domain: 'f.test', reply: 'MAILBOX full' }, ['rare']], [{ domain: 'f.test', reply: 'full%1' }, []], [{ domain: 'f.test', status: 'active' }, ['active']],
    [{ sender: '*@Sender.test', status: 'held' }, ['held']], [{ sender: 'rare@*', status: 'deferred' }, ['rare']], [{ recipient: 'pl*@f.test' }, ['plain']],
    [{ nextHop: { name: 'mx.test', domains: [] } }, ['routed']], [{ domain: 'f.test', held: false, status: 'new' }, ['plain', 'rare', 'active', 'routed', 'dropped']],
    [concerning({ sender: '*', status: 'held' }, 'hold'), []], [concerning({ sender: '*', status: 'deferred' }, 'release'), []], [concerning({ sender: 'held@*' }, 'release'), ['held']],
    [{ ids: [ids.get('plain')!], domain: 'other.test' }, []], [{ domain: 'f.test', before: new Date(0) }, []],
  ]
  for (const [filter, names] of found) {
    const wanted = names.map((name) => ids.get(name)!).sort()
    for (const order of queueOrders) assert.deepEqual((await listQueue(sql, { limit: 9, order, filter })).map(({ id }) => id).sort(), wanted, JSON.stringify({ filter, order }))
    assert.equal(await countMatching(sql, filter), wanted.length)
    assert.equal(await countMatching(sql, filter, 1), Math.min(wanted.length, 1))
    assert.deepEqual((await chooseMessages(sql, filter, '', 9)).map(({ id }) => id).sort(), wanted)
  }
  assert.deepEqual((await chooseMessages(sql, concerning({ sender: 'plain@*' }, 'drop'), '', 9))[0]!.recipients, [0], 'only those to whom a delivery is owed')
  const [chosen] = await chooseMessages(sql, { reply: 'mailbox full' }, '', 9)
  assert.deepEqual([chosen!.recipients, chosen!.forwardPaths], [[1], ['second@f.test']], 'only the recipients that match')
})
