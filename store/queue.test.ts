import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import { makeQueueId } from '../mail/queue-id.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { chooseMessages, type Chosen, concerning, countMatching, isEmpty, openDomains, type QueueFilter } from './filter.ts'
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
  for (const name of ['plain', 'held', 'rare', 'active', 'routed', 'dropped', 'put-off', 'Under_score', '']) {
    const message = newMessage([`${name || 'null'}@f.test`, 'second@f.test'])
    message.envelope.reversePath = name && `${name}@sender.test`
    if (name === 'Under_score') Object.assign(message.origin, { user: 'Mallory', clientAddress: '192.0.2.7' })
    await acceptMessage(sql, message)
    ids.set(name, message.id)
  }
  const outcome = { text: 'host x said: 452 4.2.2 Mailbox full_1' }
  await sql`update recipients set outcome = ${sql.json(outcome)} where message_id = ${ids.get('rare')!} and n = 1`
  // Of one whose failure is being reported the text is no longer looked at.
  await sql`update recipients set state = 'bouncing', outcome = ${sql.json(outcome)} where message_id = ${ids.get('plain')!} and n = 1`
  await sql`update recipients set outcome = '{"text": "later"}' where message_id = ${ids.get('held')!} and n = 0`
  await sql`update recipients set leased_until = now() + interval '1 minute' where message_id = ${ids.get('active')!}`
  await sql`update recipients set route = 'mx.test' where message_id = ${ids.get('routed')!} and n = 0`
  await sql`update messages set held_at = now() where id = ${ids.get('held')!}`
  await sql`update recipients set state = 'bouncing', dropped = true where message_id = ${ids.get('dropped')!}`
  await sql`update recipients set state = 'notifying' where message_id = ${ids.get('plain')!} and n = 1`
  await sql`update messages set send_at = now() + interval '1 hour' where id = ${ids.get('put-off')!}`
  const found: [QueueFilter, string[]][] = [
    [concerning({ sender: 'dropped@*' }, 'drop'), []], [concerning({ recipient: 'dropped@*' }, 'expire'), []], [concerning({ sender: 'dropped@*' }, 'hold'), ['dropped']],
    [concerning({ domain: 'f.test' }, 'bounce'), ['plain', 'held', 'rare', 'active', 'routed', 'put-off', 'Under_score', '']], [{ domain: 'f.test', owed: false }, ['plain', 'dropped']],
    [{ domain: 'f.test', reply: 'MAILBOX full' }, ['rare']], [{ domain: 'f.test', reply: 'full%1' }, []], [{ domain: 'f.test', status: 'active' }, ['active']],
    [{ sender: '*@Sender.test', status: 'held' }, ['held']], [{ sender: 'rare@*', status: 'deferred' }, ['rare']], [{ recipient: 'pl*@f.test' }, ['plain']],
    [{ nextHop: { name: 'mx.test', domains: [] } }, ['routed']], [{ domain: 'f.test', held: false, status: 'new' }, ['plain', 'rare', 'active', 'routed', 'dropped', 'put-off', 'Under_score', '']],
    [{ domain: 'f.test', status: 'deferred' }, ['plain', 'rare']], [{ sender: '<>' }, ['']], [{ sender: 'under_SCORE@sender.test' }, ['Under_score']],
    [{ sender: '*r_s*' }, ['Under_score']], [{ sender: 'u*d_r*' }, []], [{ user: 'mallory' }, ['Under_score']], [{ user: 'MAL*' }, ['Under_score']], [{ client: '192.0.2.*' }, ['Under_score']],
    [{ nextHop: { name: 'other.test', domains: ['f.test'] }, recipient: 'routed@f.test' }, []], [{ domain: 'f.test', before: new Date(Date.now() + 86_400_000), status: 'held' }, ['held']],
    [concerning({ sender: 'held@*' }, 'retry'), []], [concerning({ sender: 'held@*' }, 'bounce'), ['held']], [concerning({ ids: [ids.get('held')!] }, 'retry'), ['held']],
    [concerning({ domain: 'f.test' }, 'retry'), ['plain', 'rare', 'active', 'routed', 'Under_score', '']],
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
  assert.deepEqual((await chooseMessages(sql, concerning({ sender: 'plain@*' }, 'drop'), '', 9))[0]!.recipients, [0], 'only those to whom a delivery is owed')
  const [chosen] = await chooseMessages(sql, { reply: 'mailbox full' }, '', 9)
  assert.deepEqual([chosen!.recipients, chosen!.forwardPaths], [[1], ['second@f.test']], 'only the recipients that match')
  assert.deepEqual((await chooseMessages(sql, { reply: 'mailbox full' }, '', 9, true))[0]!.recipients, [0, 1], 'or all, where the whole is meant')
  assert.deepEqual((await chooseMessages(sql, { sender: 'rare@*', status: 'deferred' }, '', 9))[0]!.recipients, [1])
  const [first, ...rest] = (await chooseMessages(sql, { domain: 'f.test' }, '', 9)).map(({ id }) => id)
  assert.deepEqual((await chooseMessages(sql, { domain: 'f.test' }, first!, 2)).map(({ id }) => id), rest.slice(0, 2), 'page by page')
  const many = newMessage(Array.from({ length: 7 }, (_, i) => `m${i}@many.test`))
  await acceptMessage(sql, many)
  const [{ recipients, forwardPaths }] = (await chooseMessages(sql, { ids: [many.id] }, '', 9)) as [Chosen]
  assert.deepEqual([recipients.length, forwardPaths], [7, ['m0@many.test', 'm1@many.test', 'm2@many.test', 'm3@many.test', 'm4@many.test']])
  assert.deepEqual([concerning({}, 'release'), isEmpty({ sender: undefined }), isEmpty({ held: false })], [{}, true, false], 'what is empty stays so')
})
