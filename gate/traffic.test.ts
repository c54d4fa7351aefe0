import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { summariseDestinations } from '../store/destination-traffic.ts'
import { testDatabase } from '../test/support/database.ts'
import { keepTraffic } from './traffic.ts'

const { sql, drop } = await testDatabase()
after(drop)

const traffic = (lastText: string, delivered: number, deferred: number) => ({ delivered, deferred, bounced: 0, lastAt: new Date(), lastText })

test('what Postgres does not take of the figures is kept, and added to what came meanwhile', async () => {
  const book = keepTraffic(sql, 'w1')
  book.count('x.test', traffic('450 busy', 1, 2))
  book.count('y.test', traffic('250 taken', 5, 0))
  await sql`alter table destination_traffic rename to elsewhere`
  await assert.rejects(book.write(), /destination_traffic/)
  book.count('x.test', traffic('250 taken', 1, 0))
  await assert.rejects(book.write(), /destination_traffic/)
  await sql`alter table elsewhere rename to destination_traffic`
  for (let i = 0; i < 2; i++) await book.write()
  const rows = (await summariseDestinations(sql)).map(({ name, delivered, deferred, lastText }) => [name, delivered, deferred, lastText])
  assert.deepEqual(rows, [['x.test', 2, 2, '250 taken'], ['y.test', 5, 0, '250 taken']])
})

test('figures that Postgres would never take are not kept: they would stand in the way of all others', async () => {
  const book = keepTraffic(sql, 'w1')
  book.count('nul.test', traffic('\u0000', 1, 0))
  await assert.rejects(book.write())
  book.count('z.test', traffic('250 taken', 1, 0))
  await book.write()
  assert.equal((await summariseDestinations(sql, 'z.test'))[0]!.delivered, 1)
})
