import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { until } from '../test/support/until.ts'
import { acceptMessage, acceptMessages } from './accept.ts'
import type { Sql } from './database.ts'
import { cleanDestinations, closeCircuit, limitDestination, openCircuit, putOffRecipients, readDestinations, releaseWaiting, resumeDestination, suspendDestination } from './destinations.ts'
import { lockMessage } from './recipients.ts'

const { sql, drop } = await testDatabase()
after(drop)

const hour = 3_600_000

/** When a message with an hour to live is due after it was put off by so many hours of a workflow whose clock is so many hours ahead. */
async function putOff(hours: { ahead: number; until: number; held?: boolean; route?: string }): Promise<number> {
  const message = newMessage(['a@x.test'], { lifetime: hour })
  await acceptMessage(sql, message)
  if (hours.held) await sql`update recipients set leased_until = now() + interval '1 minute' where message_id = ${message.id}`
  if (hours.route) await sql`update recipients set route = ${hours.route} where message_id = ${message.id}`
  const begun = Date.now()
  const at = (time: number) => new Date(begun + time * hour)
  const { nextAt } = await putOffRecipients(sql, {
    id: message.id, recipients: [0], route: null, destination: 'x.test', why: 'suspended', until: at(hours.until), seen: undefined, clock: at(hours.ahead), retention: { delivered: 0, failed: hour },
  })
  const [row] = await sql<{ due: Date }[]>`select next_attempt_at as due from recipients where message_id = ${message.id}`
  assert.equal(nextAt, hours.held ? null : row!.due.getTime())
  return Math.round(((row!.due.getTime() - begun) / hour) * 10) / 10
}

test('who is put off is looked at last when the lifetime ends', async () => {
  assert.equal(await putOff({ ahead: 0, until: 0.5 }), 0.5)
  assert.equal(await putOff({ ahead: 0, until: 3 }), 1)
})

test('who is being attempted is not put off', async () => {
  assert.equal(Math.abs(await putOff({ ahead: 0, until: 0.5, held: true })), 0)
})

test('who goes another way since the plan was made is not put off by the refusal of the old one: they are due', async () => {
  assert.equal(Math.abs(await putOff({ ahead: 0, until: 0.5, route: '[127.0.0.9]' })), 0)
})

test('of several that see a circuit fail one opens it; it stays open longer each time that a probe fails', async () => {
  const open = () => openCircuit(sql, 'circuit.test', { first: hour, most: 3 * hour }, 'no greeting')
  for (const [step, hours] of [[1, 1], [2, 2], [3, 3], [4, 3]]) {
    await Promise.all([open(), open(), open()])
    const [row] = await readDestinations(sql, 'circuit.test')
    assert.deepEqual([row!.circuitStep, Math.round((row!.circuitUntil!.getTime() - Date.now()) / hour)], [step, hours])
    await sql`update destinations set circuit_until = now() where name = 'circuit.test'`
  }
})

test('where the lifetime is over by the clock of the workflow, though not by that of Postgres, nothing is due in its past', async () => {
  assert.equal(await putOff({ ahead: 2, until: 3 }), 3)
})

/** Who suspends it, and for how many hours from now. */
async function suspension(name: string): Promise<{ by: string; hours: number }> {
  const [row] = await readDestinations(sql, name)
  return { by: row!.suspendedBy, hours: Math.round((row!.suspendedUntil!.getTime() - Date.now()) / hour) }
}

test('a rule lengthens a suspension, and never shortens one; an operator does both', async () => {
  const rule = (hours: number) => suspendDestination(sql, 'y.test', hours * hour, 'rule listed', 'on our list', true)
  await rule(2)
  assert.deepEqual(await suspension('y.test'), { by: 'rule listed', hours: 2 })
  await suspendDestination(sql, 'y.test', 24 * hour, 'ada', 'they move')
  await rule(2)
  assert.deepEqual(await suspension('y.test'), { by: 'ada', hours: 24 })
  await rule(48)
  assert.deepEqual(await suspension('y.test'), { by: 'rule listed', hours: 48 })
  await suspendDestination(sql, 'y.test', hour, 'ada', '')
  assert.deepEqual(await suspension('y.test'), { by: 'ada', hours: 1 })
  await resumeDestination(sql, 'y.test', 'ada')
  await rule(3)
  assert.deepEqual(await suspension('y.test'), { by: 'rule listed', hours: 3 })
})

test('a limit that is not named stays, and null takes one away', async () => {
  assert.deepEqual(await limitDestination(sql, 'z.test', { concurrency: 4 }), { concurrency: 4, rate: null })
  assert.deepEqual(await limitDestination(sql, 'z.test', { rate: 10 }), { concurrency: 4, rate: 10 })
  assert.deepEqual(await limitDestination(sql, 'z.test', { concurrency: 8 }), { concurrency: 8, rate: 10 })
  assert.deepEqual(await limitDestination(sql, 'z.test', { concurrency: null, rate: undefined }), { concurrency: null, rate: 10 })
  assert.deepEqual(await limitDestination(sql, 'z.test', { concurrency: null, rate: null }), { concurrency: null, rate: null })
})

test('what waited is due spread over the time given, its workflows are woken then, and no other mail is', async () => {
  const spread = 10_000
  const accept = async (destination: string) => {
    const message = newMessage([`a@${destination}`], { lifetime: 5 * hour })
    await acceptMessage(sql, message)
    await putOffRecipients(sql, {
      id: message.id, recipients: [0], route: null, destination, why: 'suspended', until: new Date(Date.now() + hour), seen: undefined, clock: new Date(), retention: { delivered: 0, failed: hour },
    })
    return message.id
  }
  const ids = await Promise.all(Array.from({ length: 24 }, () => accept('moved.test')))
  const other = await accept('other.test')
  const released = Date.now()
  assert.equal(await releaseWaiting(sql, 'moved.test', spread), ids.length)
  const rows = await sql<{ id: string; due: Date; drive: Date | null }[]>`
    select m.id, r.next_attempt_at as due, m.drive_at as drive from messages m join recipients r on r.message_id = m.id where m.id = any(${[...ids, other]})`
  const due = rows.filter(({ id }) => id !== other).map(({ due }) => due.getTime() - released).sort((a, b) => a - b)
  assert.ok(due[0]! >= -1000 && due.at(-1)! <= spread + 1000, String(due))
  // That 24 times at random all fall within a third of it does not happen.
  assert.ok(due.at(-1)! - due[0]! > spread / 3, String(due))
  for (const { id, due, drive } of rows) if (id !== other) assert.equal(drive?.getTime(), due.getTime())
  assert.ok(rows.find(({ id }) => id === other)!.due.getTime() - released > hour / 2)

  await releaseWaiting(sql, 'other.test', 1, hour / 4)
  await releaseWaiting(sql, 'moved.test', 1, hour / 4)
  const after = await sql<typeof rows>`
    select m.id, r.next_attempt_at as due, m.drive_at as drive from messages m join recipients r on r.message_id = m.id where m.id = any(${[...ids, other]}) order by m.id`
  const minutes = (at: Date) => Math.round((at.getTime() - released) / 60_000)
  assert.deepEqual(after.filter(({ id }) => id === other).map(({ due, drive }) => [minutes(due), minutes(drive!)]), [[15, 15]])
  const before = new Map(rows.map(({ id, due }) => [id, due.getTime()]))
  assert.ok(after.every(({ id, due }) => id === other || due.getTime() === before.get(id)), 'what is due sooner stays so')
})

test('what a worker puts off while the destination is resumed, or its limit or circuit changes, is looked at in seconds', async () => {
  const name = 'race.test'
  /** How long it waits when `change` is done, and what waits called back, between the refusal and its commit. */
  async function waitsAfter(change: () => Promise<unknown>): Promise<number> {
    const message = newMessage(['a@race.test'], { lifetime: 2 * hour })
    await acceptMessage(sql, message)
    const { id } = message
    const [seen] = await readDestinations(sql, name)
    let putOff: ReturnType<typeof putOffRecipients> | undefined
    await sql.begin(async (tx) => {
      await tx`select from messages where id = ${id} for update`
      putOff = putOffRecipients(sql, {
        id, recipients: [0], route: null, destination: name, why: 'suspended', until: new Date(Date.now() + hour), seen, clock: new Date(), retention: { delivered: 0, failed: hour },
      })
      await until('it waits for the message', async () => (await sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).length > 0)
      await change()
      await releaseWaiting(sql, name, 1000)
    })
    return (await putOff!).nextAt! - Date.now()
  }
  const soon = (time: number) => time < 10_000
  await suspendDestination(sql, name, 5 * hour, 'ada', '')
  assert.equal(soon(await waitsAfter(async () => {})), false)
  assert.equal(soon(await waitsAfter(() => resumeDestination(sql, name, 'ada'))), true)
  assert.equal(soon(await waitsAfter(() => limitDestination(sql, name, { concurrency: 1 }))), true)
  assert.equal(soon(await waitsAfter(() => limitDestination(sql, name, { rate: 5 }))), true)
  assert.equal(soon(await waitsAfter(async () => {})), false)
  await openCircuit(sql, name, { first: hour, most: hour }, 'no greeting')
  assert.equal(soon(await waitsAfter(() => closeCircuit(sql, name))), true)
})

test('many that waited come the oldest first, in pages: meanwhile nothing else waits for more than one page, and a second word does no harm', async () => {
  const messages = Array.from({ length: 5000 }, () => newMessage(['a@many.test', 'b@many.test'], { lifetime: 5 * hour }))
  for (let i = 0; i < messages.length; i += 500) await acceptMessages(sql, messages.slice(i, i + 500))
  await sql`update recipients set destination = 'many.test', waits = 'suspended', next_attempt_at = now() + interval '1 hour' where domain = 'many.test'`
  await sql`update messages set drive_at = now() + interval '1 hour'`
  const left = async () => (await sql`select from recipients where destination = 'many.test' and next_attempt_at > now() + interval '30 minutes'`).length
  const seen = new Set<number>()
  let [released, longest] = [false, 0]
  const watching = (async () => {
    for (; !released; await sleep(5)) seen.add(await left())
  })()
  // Somebody else needs one of them all the time, as whoever records an attempt does.
  const locking = (async () => {
    for (let i = 0; !released; i = (i + 997) % messages.length) {
      const begun = performance.now()
      await sql.begin((tx) => lockMessage(tx as unknown as Sql, messages[i]!.id))
      longest = Math.max(longest, performance.now() - begun)
    }
  })()
  const begun = performance.now()
  const counts = await Promise.all([1, 2].map(() => releaseWaiting(sql, 'many.test', 60_000)))
  const took = performance.now() - begun
  released = true
  await Promise.all([watching, locking])
  assert.deepEqual([counts, await left()], [[messages.length, messages.length], 0])
  assert.ok([...seen].filter((rows) => rows > 0 && rows < 10_000).length > 1, `seen on the way: ${[...seen]}`)
  assert.ok(longest < took / 2, `a lock was waited for ${longest} of ${took} ms`)
  const due = await sql<{ due: number; same: boolean }[]>`
    select extract(epoch from r.next_attempt_at - now())::float8 as due, m.drive_at = r.next_attempt_at as same
    from recipients r join messages m on m.id = r.message_id where destination = 'many.test' order by m.id`
  assert.ok(due.every(({ same }) => same))
  const fifths = Array.from({ length: 5 }, (_, i) => due.slice(i * 2000, (i + 1) * 2000).reduce((sum, { due }) => sum + due / 2000, 0))
  assert.deepEqual(fifths, [...fifths].sort((a, b) => a - b))
  assert.ok(fifths.at(-1)! - fifths[0]! > 40, String(fifths))
})

test('a destination that says nothing any more is forgotten; one with a limit, a suspension, its recent end, or an open circuit that is probed or waited for is not', async () => {
  const week = '8 days'
  for (const name of ['closed', 'dead', 'fresh', 'probed', 'waited', 'limited', 'suspended', 'resumed', 'resumed-long-ago']) {
    await openCircuit(sql, `${name}.clean`, { first: 1, most: 1 }, 'no greeting')
  }
  await sql`update destinations set circuit_until = now() - ${week}::interval where name like '%.clean' and name <> 'fresh.clean'`
  await sql`update destinations set circuit_until = null where name in ('closed.clean', 'limited.clean', 'suspended.clean')`
  await sql`update destinations set probe_until = now() where name = 'probed.clean'`
  await limitDestination(sql, 'limited.clean', { rate: 1 })
  await suspendDestination(sql, 'suspended.clean', hour, 'ada', '')
  await resumeDestination(sql, 'resumed.clean', 'ada')
  await resumeDestination(sql, 'resumed-long-ago.clean', 'ada')
  await sql`update destinations set suspended_at = now() - ${week}::interval where name in ('suspended.clean', 'resumed-long-ago.clean')`
  const message = newMessage(['a@waited.clean'])
  await acceptMessage(sql, message)
  await sql`update recipients set destination = 'waited.clean' where message_id = ${message.id}`
  await cleanDestinations(sql)
  const kept = (await readDestinations(sql)).map(({ name }) => name).filter((name) => name.endsWith('.clean')).sort()
  assert.deepEqual(kept, ['fresh.clean', 'limited.clean', 'probed.clean', 'resumed.clean', 'suspended.clean', 'waited.clean'])
})
