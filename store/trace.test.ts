import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import { makeQueueId } from '../mail/queue-id.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import { acceptMessage } from './accept.ts'
import { traceAddress } from './trace.ts'

const { sql, drop } = await testDatabase()
after(drop)

/** Accepted so many hours after the start of 2020; its id says another time. */
async function accepted(hours: number, recipients: string[], change: { from?: string; orcpt?: string; idOff?: number } = {}): Promise<string> {
  const at = new Date(Date.UTC(2020, 0, 1, hours))
  const message = newMessage(recipients, { id: makeQueueId(at.getTime() + (change.idOff ?? 0), randomBytes(8)) })
  message.envelope.reversePath = change.from ?? 's@a.test'
  if (change.orcpt) message.envelope.recipients[0]!.orcpt = change.orcpt
  await acceptMessage(sql, message)
  await sql`update messages set accepted_at = ${at} where id = ${message.id}`
  return message.id
}

const found = async (address: string, page: Partial<Parameters<typeof traceAddress>[2]> = {}) =>
  (await traceAddress(sql, address, { limit: 9, ...page })).map(({ id, forwardPath }) => [id, forwardPath])

test('newest first, a row for each recipient that is the address and for each message from it, none of them twice', async () => {
  const one = await accepted(1, ['Ann@x.test', 'bob@x.test', 'ann@x.test'])
  const two = await accepted(2, ['bob@x.test', 'cat@x.test'], { from: 'ann@x.test' })
  const three = await accepted(3, ['ann@x.test'], { from: 'Ann@x.test' })
  assert.deepEqual(await found('ANN@x.test'), [[three, 'ann@x.test'], [two, 'bob@x.test'], [one, 'Ann@x.test'], [one, 'ann@x.test']])
  assert.deepEqual(await found('ann@x.test', { limit: 3 }), [[three, 'ann@x.test'], [two, 'bob@x.test'], [one, 'Ann@x.test']])
  assert.deepEqual((await traceAddress(sql, 'bob@x.test', { limit: 9 })).map(({ others }) => others), [1, 2])
  const report = await accepted(4, ['s@b.test'], { from: '' })
  assert.deepEqual(await found('<>'), [[report, 's@b.test']])
})

test('by an alias, which the row names; not where it is the own address, however that is written', async () => {
  const id = await accepted(5, ['dan@x.test'], { orcpt: 'rfc822;Team+2Bx@x.test' })
  const own = await accepted(6, ['eve@x.test'], { orcpt: 'RFC822;EVE@x.test' })
  assert.deepEqual((await traceAddress(sql, 'team+x@X.test', { limit: 9 })).map((row) => [row.id, row.forwardPath, row.original]), [[id, 'dan@x.test', 'Team+x@x.test']])
  assert.deepEqual((await traceAddress(sql, 'eve@x.test', { limit: 9 })).map((row) => [row.id, row.original]), [[own, null]])
})

test('within a time: of its acceptance, which its id may be half a day off', async () => {
  const hour = 3_600_000
  const [early, first, last] = [await accepted(30, ['t@x.test'], { idOff: 12 * hour }), await accepted(31, ['t@x.test'], { idOff: -12 * hour }), await accepted(32, ['t@x.test'], { idOff: 12 * hour })]
  const at = (hours: number) => new Date(Date.UTC(2020, 0, 1, hours))
  const ids = async (page: Parameters<typeof found>[1]) => (await found('t@x.test', page)).map(([id]) => id).sort()
  assert.deepEqual(await ids({ since: at(31) }), [first, last].sort())
  assert.deepEqual(await ids({ until: at(31) }), [early])
  assert.deepEqual(await ids({ since: at(31), until: at(32) }), [first])
  assert.deepEqual(await ids({ since: new Date(0) }), [early, first, last].sort())
})
