import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import { makeQueueId } from '../mail/queue-id.ts'
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

test('qshape: what its sender has put off is as old as that time is past', async () => {
  const now = Date.now()
  for (const [acceptedAgo, sendIn] of [[3000, 60], [3000, -30], [3000, null], [1, -500]] as const) {
    const at = now - acceptedAgo * 60_000
    const message = newMessage(['x@later.test'], { id: makeQueueId(at, randomBytes(8)) })
    message.envelope.reversePath = 's@later.test'
    await acceptMessage(sql, message)
    await sql`update messages set accepted_at = ${new Date(at)}, send_at = ${sendIn === null ? null : new Date(now + sendIn * 60_000)} where id = ${message.id}`
  }
  for (const by of ['recipient', 'sender'] as const) {
    const row = (await readShape(sql, by, 99, now)).find(({ domain }) => domain === 'later.test')!
    assert.deepEqual(row.ages, [2, 0, 0, 1, 0, 0, 0, 0, 0, 1], by)
  }
  await sql`delete from messages where reverse_path = 's@later.test'`
})

test('each filter finds what it names, in every order, counted and chosen alike', async () => {
  const ids = new Map<string, string>()
  for (const name of ['plain', 'held', 'rare', 'active', 'routed', 'put-off']) {
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
  await sql`update messages set send_at = now() + interval '1 hour' where id = ${ids.get('put-off')!}`
  const found: [QueueFilter, string[]][] = [
    [{ domain: 'f.test', reply: 'MAILBOX full' }, ['rare']], [{ domain: 'f.test', reply: 'full%1' }, []], [{ domain: 'f.test', status: 'active' }, ['active']],
    [{ sender: '*@Sender.test', status: 'held' }, ['held']], [{ sender: 'rare@*', status: 'deferred' }, ['rare']], [{ recipient: 'pl*@f.test' }, ['plain']],
    [{ nextHop: { name: 'mx.test', domains: [] } }, ['routed']],
    [{ domain: 'f.test', held: false, status: 'new' }, ['plain', 'rare', 'active', 'routed', 'put-off']], [concerning({ domain: 'f.test' }, 'retry'), ['plain', 'rare', 'active', 'routed']],
    [concerning({ domain: 'f.test', sender: '*@sender.test' }, 'release'), ['held']], [concerning({ sender: 'put-off@*' }, 'retry'), []], [concerning({ sender: 'put-off@*' }, 'hold'), ['put-off']],
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
  const [chosen] = await chooseMessages(sql, { reply: 'mailbox full' }, '', 9)
  assert.deepEqual([chosen!.recipients, chosen!.forwardPaths], [[1], ['second@f.test']], 'only the recipients that match')
})
