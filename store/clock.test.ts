import assert from 'node:assert/strict'
import { after, mock, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { until } from '../test/support/until.ts'
import { keepClock, postgresTime } from './clock.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('the time is that of Postgres, however wrong the clock of the machine is, and goes on while Postgres is away', async () => {
  const truth = Date.now
  const clock = keepClock(sql)
  await clock.read
  mock.method(Date, 'now', () => truth() - 86_400_000)
  try {
    const off = () => Math.abs(postgresTime() - truth())
    assert.ok(off() < 1000, `${off()} ms`)
    const before = postgresTime()
    await until('it goes on', () => postgresTime() > before)
  } finally {
    mock.restoreAll()
    await clock.stop()
  }
})
