import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
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

test('of several servers the one that worked last is called first: a connection that was lost is made anew without a failure', async () => {
  const { url, drop: dropOwn } = await testDatabase({ empty: true })
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  await new Promise((resolve) => silent.close(resolve)) // nobody answers there
  const { host } = new URL(url)
  const hosts = [[host, `127.0.0.1:${port}`], [`127.0.0.1:${port}`, host], [host, `127.0.0.1:${port}`, `127.0.0.1:${port}`]]
  try {
    for (const several of hosts) {
      const through = openDatabase(url.replace(host, several.join(',')), 1)
      try {
        for (let i = 0; i < 5; i++) {
          const [row] = await through<[{ pid: number }]>`select pg_backend_pid() as pid`
          await sql`select pg_terminate_backend(${row.pid})`
          await sleep(50)
        }
        const slow = through`select pg_sleep(20)`.execute()
        slow.catch(() => {})
        await until('the first statement of a new connection runs', async () => (await sql`
          select pg_terminate_backend(pid) from pg_stat_activity where datname = ${new URL(url).pathname.slice(1)} and query = 'select pg_sleep(20)'`).length > 0)
        await Promise.race([assert.rejects(slow), sleep(5000).then(() => assert.fail('it hangs'))])
      } finally {
        await through.end({ timeout: 1 })
      }
    }
  } finally {
    await dropOwn()
  }
})

test('a Postgres that stays away is asked again each second: what waits for it does not wait on once it is back', async () => {
  const closed = createServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const { port } = closed.address() as AddressInfo
  await new Promise((resolve) => closed.close(resolve))
  const through = openDatabase(`postgres://nobody@127.0.0.1:${port}/none`, 1)
  let tries = 0
  const asked = whenBack(() => {
    tries++
    return through`select 1`
  })
  try {
    // The driver's own pauses would make it half a minute and more.
    await until('it is asked for the twelfth time', () => tries === 12, 20_000)
  } finally {
    await through.end({ timeout: 1 })
    await assert.rejects(asked)
  }
})

test('a port that takes connections and closes them is asked again with pauses, by who listens for notices, too', async () => {
  let connections = 0
  const proxy = createServer((socket) => {
    connections++
    socket.on('error', () => {}).once('data', () => socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const through = openDatabase(`postgres://nobody@127.0.0.1:${(proxy.address() as AddressInfo).port}/none`, 2)
  try {
    await Promise.all(['one', 'two'].map((channel) => assert.rejects(through.listen(channel, () => {}), { code: 'CONNECT_CLOSED' })))
    await sleep(2000)
    assert.ok(connections > 2 && connections < 30, `${connections} connections`)
    const begun = performance.now()
    await assert.rejects(through`select 1`, { code: 'CONNECT_CLOSED' })
    assert.ok(performance.now() - begun < 5000)
  } finally {
    await through.end({ timeout: 1 })
    proxy.close()
  }
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
