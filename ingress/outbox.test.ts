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
