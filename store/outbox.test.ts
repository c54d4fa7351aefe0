import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { controlMessage } from './control.ts'
import { stampMessage } from './messages.ts'
import { type Became, claimDue, putOff } from './outbox.ts'
import { settleProgress } from './recipients.ts'

const { sql, drop } = await testDatabase()
after(drop)

/** Minutes from now at which the outbox looks at it again, after it was found due and driven. */
async function again(change: { nextIn?: string; expiresIn?: string; state?: string; became?: Became['became'] }): Promise<number> {
  const { id } = newMessage([])
  await acceptMessage(sql, { ...newMessage(['a@x.test']), id })
  await sql`update recipients set next_attempt_at = now() + ${change.nextIn ?? '4 hours'}::interval, state = ${change.state ?? 'queued'} where message_id = ${id}`
  await sql`update messages set drive_at = now(), expires_at = now() + ${change.expiresIn ?? '5 days'}::interval where id = ${id}`
  const due = await claimDue(sql, 10)
  assert.deepEqual(due.map((each) => each.id), [id])
  await putOff(sql, due.map((each) => ({ ...each, became: change.became ?? 'driven' })))
  const [row] = await sql<{ minutes: number }[]>`select extract(epoch from drive_at - now())::float8 / 60 as minutes from messages where id = ${id}`
  await sql`update messages set drive_at = null where id = ${id}`
  return row!.minutes
}

test('a workflow that waits for hours is not woken again before something is due; one that may be lost is', async () => {
  const near = (minutes: number, wanted: number) => assert.ok(Math.abs(minutes - wanted) < 0.2, `${minutes} minutes, not ${wanted}`)
  near(await again({}), 242)
  near(await again({ nextIn: '-1 minute' }), 5)
  near(await again({ nextIn: '1 day', expiresIn: '-1 minute' }), 5)
  near(await again({ nextIn: '1 day', expiresIn: '1 hour' }), 62)
  near(await again({ state: 'bouncing' }), 5)
  near(await again({ became: 'anew' }), 242)
  near(await again({ became: 'unanswered' }), 15)
  near(await again({ became: 'failed' }), 1 / 60)
})

test('what an operator asks of a message while the outbox has it in hand is driven in seconds', async () => {
  const { id } = newMessage([])
  await acceptMessage(sql, { ...newMessage(['a@x.test']), id })
  for (const became of ['driven', 'anew', 'unanswered', 'failed'] as const) {
    await sql`update messages set drive_at = now() where id = ${id}`
    const [due] = await claimDue(sql, 10)
    await controlMessage(sql, id, { action: 'retry', who: 'ada', why: '' }, randomUUID(), { delivered: 0, failed: 0 })
    await putOff(sql, [{ ...due!, became }])
    const [row] = await sql<{ seconds: number }[]>`select extract(epoch from drive_at - now())::float8 as seconds from messages where id = ${id}`
    assert.ok(row!.seconds < 10, `${row!.seconds} s`)
  }
  await sql`update messages set drive_at = null where id = ${id}`
})

test('of several that were due together each is put off by what became of it; only what was driven counts as such', async () => {
  const wanted = { driven: 62, anew: 62, unanswered: 15, failed: 1 / 60, asked: 30 }
  const ids = new Map<string, keyof typeof wanted>()
  for (const became of Object.keys(wanted) as (keyof typeof wanted)[]) {
    const message = newMessage(['a@x.test', 'b@x.test'])
    ids.set(message.id, became)
    await acceptMessage(sql, message)
  }
  const all = [...ids.keys()]
  await sql`update recipients set next_attempt_at = now() + interval '1 hour' where message_id = any(${all})`
  await sql`update messages set drive_at = now() where id = any(${all})`
  const due = await claimDue(sql, 10)
  assert.deepEqual(due.map(({ id }) => id).sort(), all.sort())
  const isAsked = (id: string) => ids.get(id) === 'asked'
  await sql`update messages set drive_at = now() + interval '30 minutes' where id = any(${all.filter(isAsked)})`
  await putOff(sql, due.map((each) => ({ ...each, became: isAsked(each.id) ? 'unanswered' : ids.get(each.id) as Became['became'] })))
  const rows = await sql<{ id: string; minutes: number; driven: number }[]>`select id, extract(epoch from drive_at - now())::float8 / 60 as minutes, driven from messages where id = any(${all})`
  for (const { id, minutes, driven } of rows) {
    const became = ids.get(id)!
    assert.ok(Math.abs(minutes - wanted[became]) < 0.2, `${became}: ${minutes} minutes`)
    assert.equal(driven, became === 'failed' || became === 'unanswered' ? 0 : 1, became)
  }
  await sql`update messages set drive_at = null where id = any(${all})`
})

test('a workflow that is told again and again, and does nothing, is stuck; one whose message is held or being attempted is not, nor one that has done something', async () => {
  const changes = {
    stuck: () => {},
    held: (id: string) => sql`update messages set held_at = now() where id = ${id}`,
    attempted: (id: string) => sql`update recipients set leased_until = now() + interval '1 minute' where message_id = ${id}`,
    stamped: (id: string) => stampMessage(sql, id, Buffer.from('Received: by x.test\r\n')),
    settled: (id: string) => settleProgress(sql, id, { delivered: 0, failed: 0 }),
  }
  for (const [name, change] of Object.entries(changes)) {
    const { id } = newMessage([])
    await acceptMessage(sql, newMessage(['a@x.test'], { id }))
    await sql`update messages set started_at = now() where id = ${id}`
    await sql`update recipients set next_attempt_at = now() - interval '1 hour' where message_id = ${id}`
    const told: boolean[] = []
    for (let i = 0; i < 4; i++) {
      if (i === 3) await change(id)
      await sql`update messages set drive_at = now() where id = ${id}`
      told.push(...(await claimDue(sql, 10)).map(({ stuck }) => stuck))
    }
    await sql`update messages set drive_at = null where id = ${id}`
    assert.deepEqual(told, [false, false, false, name === 'stuck'], name)
  }
})
