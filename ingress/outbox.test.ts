import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { acceptMessages } from '../store/accept.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { until } from '../test/support/until.ts'
import { startOutbox } from './outbox.ts'

test('of a backlog as many are started at a time as Temporal keeps up with: fewer while it is slow, more again when it is not', async () => {
  const { sql, drop } = await testDatabase()
  await acceptMessages(sql, Array.from({ length: 130 }, () => newMessage(['a@x.test'])))
  await sql`update messages set drive_at = now()`
  const sizes: number[] = []
  let underWay = 0
  let started = 0
  const outbox = await startOutbox({
    sql, limit: 1000, log: pino({ level: 'silent' }), interval: 100,
    async startMessage() {
      if (underWay++ === 0) sizes.push(0)
      sizes[sizes.length - 1]!++
      await sleep(sizes.length < 3 ? 2100 : 20)
      underWay--
      started++
      return 'driven'
    },
  })
  try {
    await until('all are started', () => started === 130)
    assert.deepEqual(sizes, [50, 25, 12, 24, 19])
  } finally {
    await outbox.stop()
    await drop()
  }
})

test('each is put off by what became of it: what failed comes back in a second; what was made anew, what failed and that no worker answers is told', async () => {
  const { sql, drop } = await testDatabase()
  const becomes = ['driven', 'anew', 'unanswered', 'unanswered', null] as const
  const messages = becomes.map(() => newMessage(['a@x.test']))
  await acceptMessages(sql, messages)
  const became = new Map(becomes.map((what, i) => [messages[i]!.id, what]))
  await sql`update recipients set next_attempt_at = now() + interval '1 hour'`
  await sql`update messages set drive_at = now()`
  const asked = new Map<string, number>()
  const lines: Record<string, unknown>[] = []
  const log = pino({ level: 'warn', base: null, timestamp: false }, { write: (line: string) => { lines.push(JSON.parse(line)) } })
  const outbox = await startOutbox({
    sql, limit: 1000, log, interval: 50,
    async startMessage(id) {
      asked.set(id, (asked.get(id) ?? 0) + 1)
      const what = became.get(id)
      if (!what) throw new Error('Temporal is away')
      return what
    },
  })
  try {
    const failed = messages.at(-1)!.id
    await until('what failed has come back twice', () => (asked.get(failed) ?? 0) > 2)
    assert.deepEqual(messages.slice(0, -1).map(({ id }) => asked.get(id)), [1, 1, 1, 1])
    assert.deepEqual(lines.slice(0, 3), [
      { level: 50, id: messages[1]!.id, msg: 'overdue, and its workflow did nothing: it is made anew' },
      { level: 40, workflows: 2, msg: 'no worker answers, or they are far behind: workflows wait for one' },
      { level: 40, error: 'Error: Temporal is away', msg: 'messages wait for their workflow; tried again every second' },
    ])
    assert.deepEqual(lines.slice(3).filter(({ error }) => !error), [])
    const rows = await sql<{ id: string; minutes: number }[]>`select id, extract(epoch from drive_at - now())::float8 / 60 as minutes from messages`
    const minutes = new Map(rows.map((row) => [row.id, Math.round(row.minutes)]))
    assert.deepEqual(messages.map(({ id }) => minutes.get(id)), [62, 62, 15, 15, 0])
  } finally {
    await outbox.stop()
    await drop()
  }
})

test('it is full when as many wait for their first start as the limit allows, those accepted since the last look counted', async () => {
  const { sql, drop } = await testDatabase()
  await acceptMessages(sql, [newMessage(['a@x.test']), newMessage(['a@x.test'])])
  await sql`update messages set drive_at = now() + interval '1 hour'`
  const outbox = await startOutbox({ sql, limit: 3, log: pino({ level: 'silent' }), interval: 60_000, startMessage: async () => 'driven' })
  try {
    await sleep(100) // its first round is done
    assert.equal(outbox.full(), false)
    outbox.accepted()
    assert.equal(outbox.full(), true)
  } finally {
    await outbox.stop()
    await drop()
  }
})
