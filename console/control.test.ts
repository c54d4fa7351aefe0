import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlAction } from '../mail/control.ts'
import { acceptMessage } from '../store/accept.ts'
import { claimAttempt, markDot } from '../store/attempts.ts'
import type { Asked } from '../store/control.ts'
import { releaseWaiting } from '../store/destinations.ts'
import { claimDue, putOff } from '../store/outbox.ts'
import { testDatabase } from '../test/support/database.ts'
import { until } from '../test/support/until.ts'
import { newMessage } from '../test/support/messages.ts'
import { controlAll } from './control.ts'

const { sql, drop } = await testDatabase()
after(drop)

const retention = { delivered: 0, failed: 60_000 }

async function accepted(count: number): Promise<Asked[]> {
  const messages = Array.from({ length: count }, () => newMessage(['a@x.test', 'b@x.test']))
  await Promise.all(messages.map((message) => acceptMessage(sql, message)))
  return messages.map(({ id }) => ({ id, recipients: null })).sort((a, b) => (a.id < b.id ? -1 : 1))
}

const ask = (action: ControlAction, asked: Asked[]) => controlAll({ sql, retention }, { action, who: 'me', why: 'a crisis' }, asked)

test('a message whose row somebody keeps is refused by name, and keeps none of the others from being done', async () => {
  const asked = await accepted(250)
  const { id } = asked[7]!
  let [taken, free] = [() => {}, () => {}]
  const isTaken = new Promise<void>((resolve) => { taken = resolve })
  const kept = sql.begin(async (tx) => {
    await tx`select from messages where id = ${id} for update`
    taken()
    await new Promise<void>((resolve) => { free = resolve })
  })
  await isTaken
  let givenUp = false
  const asking = ask('hold', asked).finally(() => { givenUp = true })
  await until('the others are held', async () => (await sql`select from messages where held_at is not null`).length === 249)
  assert.equal(givenUp, false, 'before it is given up')
  const told = await asking
  free()
  await kept
  assert.deepEqual([told.done.length, told.refused], [249, [{ id, why: 'its row in Postgres is kept by somebody else: ask again' }]])
  const [held] = await sql<{ count: number }[]>`select count(*) from messages where held_at is not null`
  const [recorded] = await sql<{ count: number }[]>`select count(*) from actions where action = 'hold' and who = 'me' and why = 'a crisis'`
  assert.deepEqual([held!.count, recorded!.count], [249, 249])
  assert.deepEqual((await ask('hold', asked)).done, [id])
})

test('who of a page is past the dot is left alone, the attempts of the others are broken off, and each message is told of its own', async () => {
  const asked = await accepted(3)
  const [past, before, idle] = asked.map(({ id }) => id) as [string, string, string]
  const claim = async (id: string, recipients: number[]) =>
    (await claimAttempt(sql, { id, nextHop: 'x', recipients, route: null, worker: 'w', lease: 60_000, clock: new Date(), trace: null, begunAt: new Date(), unclaimed: false, dot: null }))!.number
  const [dotted, waiting] = [await claim(past, [0, 1]), await claim(before, [0])]
  assert.equal(await markDot(sql, past, dotted, [0, 1], 60_000), true)
  const told = await ask('bounce', [...asked, { id: '000000000000000000', recipients: null }])
  assert.deepEqual(told.done.sort(), [before, idle].sort())
  assert.deepEqual(told.refused, [
    { id: past, why: 'its reply to the final dot is awaited for a@x.test, b@x.test; look again later' },
    { id: '000000000000000000', why: 'there is no message 000000000000000000' },
  ])
  assert.deepEqual([told.busy, (await ask('hold', [asked[0]!])).busy], [[], [{ id: past, paths: ['a@x.test', 'b@x.test'] }]])
  assert.equal(await markDot(sql, before, waiting, [0], 60_000), false)
  const rows = await sql<{ id: string; states: string[] }[]>`select message_id as id, array_agg(state order by n) as states from recipients group by message_id`
  const states = new Map(rows.map(({ id, states }) => [id, states.join()]))
  assert.deepEqual([past, before, idle].map((id) => states.get(id)), ['queued,queued', 'bouncing,bouncing', 'bouncing,bouncing'])
})

test('a hold, what comes back from a suspension, and the outbox never wait for each other in a circle', async () => {
  const asked = await accepted(1000)
  const ids = asked.map(({ id }) => id)
  await sql`update recipients set destination = 'x.test', waits = 'suspended' where message_id = any(${ids})`
  await sql`analyze`
  for (let round = 0; round < 4; round++) {
    await sql`update messages set drive_at = now() where id = any(${ids})`
    const [told] = await Promise.all([
      ask(round % 2 === 0 ? 'hold' : 'release', asked),
      releaseWaiting(sql, 'x.test', 1000),
      (async () => {
        for (let i = 0; i < 20; i++) {
          const due = await claimDue(sql, 50)
          await putOff(sql, due.map((each) => ({ ...each, became: 'driven' as const })).reverse())
        }
      })(),
    ])
    assert.deepEqual([told.done.length, told.refused], [1000, []])
  }
  await sleep(1500) // the server tells its figures a second late
  const [figures] = await sql<{ deadlocks: number }[]>`select deadlocks from pg_stat_database where datname = current_database()`
  assert.equal(figures!.deadlocks, 0)
})
