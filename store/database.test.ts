import assert from 'node:assert/strict'
import { after, mock, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { testDatabase } from '../test/support/database.ts'
import { until } from '../test/support/until.ts'
import { leavesOpen, openDatabase, seenOf, type Sql, whenBack } from './database.ts'

const { sql, drop } = await testDatabase({ empty: true })
after(drop)

test('a connection lost in the midst of a transaction fails the transaction, and nothing else', async () => {
  for (let i = 0; i < 20; i++) {
    const lost = sql.begin(async (transaction) => {
      const tx = transaction as unknown as Sql
      const [row] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`
      await sql`select pg_terminate_backend(${row!.pid})`
      // Now and then the driver does not know yet that the line is gone, now and then it does.
      if (i % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 20))
      await tx`select ${i}::int`
    })
    await assert.rejects(lost, (error: { code?: string }) => ['57P01', 'CONNECTION_CLOSED', 'ECONNRESET', 'EPIPE'].includes(error.code ?? ''))
  }
  const rows = await Promise.all(Array.from({ length: 30 }, (_, i) => sql<{ n: number }[]>`select ${i}::int as n`))
  assert.deepEqual(rows.map(([row]) => row!.n), Array.from({ length: 30 }, (_, i) => i))
})

test('what must be done is repeated while Postgres is away or lets nobody in, and given up at once when it is wrong', async () => {
  let tries = 0
  const away = ['EAI_AGAIN', 'ENOTFOUND', 'EHOSTUNREACH', 'ECONNREFUSED', 'CONNECT_TIMEOUT', 'CONNECTION_CLOSED', 'ENOENT']
  const done = await whenBack(async () => {
    const code = away[tries++]
    if (code) throw Object.assign(new Error(code), { code })
    return 'done'
  })
  assert.deepEqual([done, tries], ['done', away.length + 1])
  await assert.rejects(whenBack(() => sql`select 1 / 0`), /division by zero/)
  // Node's own: a fault of ours.
  await assert.rejects(whenBack(async () => Buffer.from(null as never)), { code: 'ERR_INVALID_ARG_TYPE' })
})

test('a role that may not log in, a table that a restore has not made yet: each is waited for, with a complaint each minute', async () => {
  const { url, drop: dropOwn } = await testDatabase({ empty: true })
  const role = `waits_${process.pid}`
  await sql.unsafe(`create role ${role} superuser nologin password 'a'`)
  const through = new URL(url)
  through.username = role
  through.password = 'a'
  const barred = openDatabase(through.href, 1)
  const complaints: unknown[] = []
  const truth = performance.now.bind(performance)
  let skipped = 0
  const clock = mock.method(performance, 'now', () => truth() + skipped)
  try {
    let done = false
    const waiting = whenBack(() => barred`insert into notes values (1)`, { complain: (error) => complaints.push((error as { code: string }).code) }).then(() => { done = true })
    await sleep(300)
    skipped = 61_000
    waiting.catch(() => {})
    await until('it complains', () => complaints.length === 1)
    await sql.unsafe(`alter role ${role} login`)
    await sleep(1500)
    skipped = 122_000
    await until('it complains again', () => complaints.length === 2)
    await barred`create table notes (n int)`
    await until('it is done', () => done)
    await waiting
    assert.deepEqual(complaints, ['28000', '42P01'])
    await barred.end()
    await assert.rejects(whenBack(() => barred`select 1`), { code: 'CONNECTION_ENDED' })
  } finally {
    clock.mock.restore()
    await barred.end()
    await dropOwn()
    await sql.unsafe(`drop role ${role}`)
  }
})

test('a connection that ends under a statement leaves it open whether it was done; one that was never had does not', async () => {
  for (const code of ['CONNECTION_CLOSED', 'CONNECTION_DESTROYED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH']) assert.equal(leavesOpen({ code }), true, code)
  for (const code of ['57P01', '57P02', '08006', '08P01']) assert.equal(leavesOpen({ code, severity: 'FATAL' }), true, code)
  for (const code of ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'CONNECT_TIMEOUT', 'CONNECT_CLOSED', 'UNDEFINED_VALUE', 'ERR_INVALID_ARG_TYPE']) assert.equal(leavesOpen({ code }), false, code)
  for (const code of ['57P03', '53100', '23505']) assert.equal(leavesOpen({ code, severity: 'ERROR' }), false, code)
})

test('what is seen of a Postgres that is away is told for a name with several addresses, too', async () => {
  const each = ['connect ECONNREFUSED ::1:5432', 'connect ECONNREFUSED 127.0.0.1:5432'].map((message) => new Error(message))
  assert.equal(seenOf(Object.assign(new AggregateError(each), { code: 'ECONNREFUSED' })), 'connect ECONNREFUSED ::1:5432, connect ECONNREFUSED 127.0.0.1:5432')
})

test('a clock that jumps does not end the wait for a database that is away', async () => {
  const now = Date.now()
  let tries = 0
  const jumping = mock.method(Date, 'now', () => now + tries * 86_400_000)
  try {
    const answer = await whenBack(async () => {
      if (++tries < 4) throw Object.assign(new Error('it is away'), { code: 'ECONNREFUSED' })
      return 'back'
    })
    assert.deepEqual([answer, tries], ['back', 4])
  } finally {
    jumping.mock.restore()
  }
})
