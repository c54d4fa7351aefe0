import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { testDatabase, turnClock } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { claimAttempt } from './attempts.ts'
import { findFailed, replayMessage } from './replay.ts'
import { readView } from './view.ts'

const { sql, drop } = await testDatabase({ clock: true })
after(drop)

const how = { who: 'test', why: '', lifetime: 7_200_000, retention: { delivered: 0, failed: 1000 } }

async function failed(released = false): Promise<string> {
  const message = newMessage(['a@x.test'])
  await acceptMessage(sql, message)
  await sql`update recipients set state = 'bounced', settled_at = now() where message_id = ${message.id}`
  await sql`update messages set state = 'finished', finished_at = now(), body_released_at = ${released ? sql`now()` : null} where id = ${message.id}`
  return message.id
}

for (const [what, minutes] of [['behind', 1440], ['ahead', -2880]] as const) {
  test(`on a machine whose clock is a day ${what} a replay is due at once, or so long after as was asked, and lives as long as it should`, async () => {
    await turnClock(sql, minutes)
    for (const [wait, after] of [[0, undefined], [3600, 3_600_000]] as const) {
      const id = await failed()
      await replayMessage(sql, { ...how, id, after })
      const [row] = await sql`
        select round(extract(epoch from r.next_attempt_at - now()) / 60) as due, round(extract(epoch from m.expires_at - now()) / 60) as lives,
               m.drive_at < r.next_attempt_at + interval '1 minute' as driven
        from messages m join recipients r on r.message_id = m.id where m.id = ${id}`
      assert.deepEqual([Number(row!['due']), Number(row!['lives']), row!['driven']], [wait / 60, 120 + wait / 60, true])
    }
  })

  test(`on a machine whose clock is a day ${what} it can be told whether an attempt is under way`, async () => {
    const { id } = newMessage([])
    await acceptMessage(sql, newMessage(['a@x.test'], { id }))
    await sql`update messages set started_at = now() where id = ${id}`
    assert.equal((await readView(sql, id))!.next!.what, 'the next attempt')
    const clock = (await sql<{ now: Date }[]>`select now()`)[0]!.now
    await claimAttempt(sql, { id, nextHop: 'x', recipients: [0], route: null, worker: 'w', lease: 60_000, clock, trace: null, begunAt: clock, unclaimed: false, dot: null })
    assert.equal((await readView(sql, id))!.next!.what, 'an attempt is under way')
  })
}

test('a replay begins anew: what rules decided, operators dropped or reports said counts no more, and no delay is reported', async () => {
  const id = await failed()
  await sql`
    update recipients set dropped = true, dead_letter = true, attempts = 9, outcome = '{"givenUp": true, "text": "5.1.1 no"}', ruled = '{"times": {"r": 3}, "since": {"r": 1}}'
    where message_id = ${id}`
  await sql`update messages set drive_at = now() + interval '1 hour' where id = ${id}`
  assert.deepEqual(await replayMessage(sql, { ...how, id }), [], 'unless it is named')
  assert.deepEqual(await replayMessage(sql, { ...how, id, given: true }), ['a@x.test'])
  const [row] = await sql`
    select r.state, r.dropped, r.dead_letter, r.attempts, r.outcome, r.ruled, m.delay_reported_at is not null as reported, m.drive_at < now() + interval '1 minute' as soon
    from recipients r join messages m on m.id = r.message_id where m.id = ${id}`
  assert.deepEqual(row, { state: 'queued', dropped: false, dead_letter: false, attempts: 0, outcome: { text: '5.1.1 no' }, ruled: { since: {}, times: {} }, reported: true, soon: true })
})

test('filters of what failed: since, dead letters, null reverse-path, text as it is written', async () => {
  const id = await failed()
  await sql`update recipients set settled_at = '2001-01-01T00:00:00Z', dead_letter = true, outcome = '{"text": "mailbox full_1"}' where message_id = ${id}`
  await sql`update messages set reverse_path = '' where id = ${id}`
  const finds = async (filter: Parameters<typeof findFailed>[1]) => (await findFailed(sql, filter)).some((each) => each.id === id)
  const other = await failed()
  const found = [{ since: new Date('2001-01-01T00:00:00Z') }, { dead: true }, { sender: '<>' }, { reply: 'BOX full_1' }, { domain: 'x.test', recipient: 'A*' }]
  for (const filter of found) assert.ok(await finds(filter), JSON.stringify(filter))
  const passedOver = [{ since: new Date('2001-01-01T00:00:01Z') }, { sender: 'sender@*' }, { reply: 'full%1' }, { reply: 'full 1' }, { domain: 'y.test' }]
  for (const filter of passedOver) assert.ok(!await finds(filter), JSON.stringify(filter))
  assert.ok((await findFailed(sql, { dead: true })).every((each) => each.id !== other))
  await sql`update recipients set outcome = '{"phase": "queue"}' where message_id = ${other}`
  assert.deepEqual([(await findFailed(sql, {})).some((each) => each.id === other), (await findFailed(sql, {}, { id: other })).length], [false, 1], 'what an operator bounced')
})

test('to another address: who has the message already stands for those that failed, and nobody else gets it for them', async () => {
  const message = newMessage(['gone@x.test', 'team@x.test', 'Ann@x.test', 'ann@x.test'])
  await acceptMessage(sql, message)
  const { id } = message
  // The alias has been expanded, which is no delivery to it; of two that are one address one has it.
  await sql`
    update recipients set state = case n when 0 then 'bounced' when 2 then 'bounced' else 'delivered' end, settled_at = now(), orcpt = case n when 0 then 'rfc822;was@y.test' end
    where message_id = ${id}`
  await sql`update recipients set outcome = '{"phase": "queue"}' where message_id = ${id} and n = 1`
  await sql`update messages set state = 'finished', finished_at = now() where id = ${id}`
  const rows = () => sql`select n, state, redirected_to, orcpt from recipients where message_id = ${id} order by n`.then((all) => all.map((row) => Object.values(row)))
  await replayMessage(sql, { ...how, id, recipient: 'gone@*', to: ['ANN@x.test'] })
  assert.deepEqual((await rows())[0], [0, 'bounced', 3, 'rfc822;was@y.test'], 'by whom it was delivered')
  assert.equal((await findFailed(sql, { recipient: 'gone@*' }, { id })).length, 0)
  await sql`update recipients set redirected_to = null where message_id = ${id}`
  await replayMessage(sql, { ...how, id, recipient: 'gone@*', to: ['team@x.test'] })
  assert.deepEqual((await rows())[4], [4, 'queued', null, 'rfc822;was@y.test'], 'what only stood for others has had nothing')
  await sql`update recipients set state = 'bounced' where message_id = ${id} and n = 4`
  await sql`update recipients set redirected_to = 4 where message_id = ${id} and n = 2`
  await replayMessage(sql, { ...how, id, recipient: 'team@*', to: ['gone@x.test'] })
  assert.deepEqual((await rows()).map(([, state, redirected]) => [state, redirected]), [['queued', null], ['delivered', null], ['bounced', 4], ['delivered', null], ['bounced', 0]])
})

test('what failed is found page by page, oldest first, and without what has no body any more where nobody asks for it', async () => {
  await sql`delete from recipients`
  const ids = []
  for (const released of [false, true, false]) ids.push(await failed(released))
  ids.sort()
  const found = async (page: Parameters<typeof findFailed>[2]) => (await findFailed(sql, {}, page)).map(({ id }) => id)
  assert.deepEqual(await found({}), ids)
  const kept = await found({ released: false })
  assert.equal(kept.length, 2)
  assert.deepEqual(await found({ released: false, limit: 1 }), kept.slice(0, 1))
  assert.deepEqual(await found({ released: false, limit: 1, after: kept[0] }), kept.slice(1))
})
