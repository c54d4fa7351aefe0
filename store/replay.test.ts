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
