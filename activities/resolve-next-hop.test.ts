import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { settingsSchema } from '../settings/schema.ts'
import { acceptMessage } from '../store/accept.ts'
import { testDatabase } from '../test/support/database.ts'
import { newMessage } from '../test/support/messages.ts'
import type { ActivityDeps } from './index.ts'
import { planFor, resolveNextHop } from './resolve-next-hop.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('a lease that runs still has as long to run by the clock of a workflow that is ahead: it is not asked for again without a pause', async () => {
  const message = newMessage(['held@x.test', 'later@x.test'])
  await acceptMessage(sql, message)
  await sql`update recipients set leased_until = now() + interval '5 seconds' where message_id = ${message.id} and n = 0`
  await sql`update recipients set next_attempt_at = now() + interval '1 hour' where message_id = ${message.id} and n = 1`
  const runs = async (ahead: number) => {
    const clock = Date.now() + ahead
    const { progress } = await resolveNextHop({ sql } as ActivityDeps, { id: message.id, clock, busy: [] })
    return progress.leasedUntil! - clock
  }
  const [together, ahead, behind] = [await runs(0), await runs(60_000), await runs(-60_000)]
  assert.ok(together > 3000 && together <= 5100, `${together} ms`)
  assert.ok(ahead > 3000 && ahead <= 5100, `${ahead} ms`)
  assert.ok(behind > 60_000, `${behind} ms`)
})

test('one LMTP server that wants Return-Path for one domain and not for another gets two transactions', async () => {
  const server = { deliver: 'lmtp', path: '/run/lmtp' }
  const settings = settingsSchema.parse({
    localDomains: { 'with.test': { ...server, returnPath: true }, 'without.test': server },
    routes: [{ domain: 'routed.test', nextHop: 'lmtp:unix:/run/lmtp' }],
  })
  const deps = { settings, gate: { look: async () => null } } as unknown as ActivityDeps
  const due = ['with.test', 'without.test', 'routed.test', 'with.test'].map((domain, n) => ({ n, domain, route: null }))
  for (const order of [due, [...due].reverse()]) {
    const { groups } = await planFor(deps, { id: 'x', clock: Date.now() }, order, null)
    const wanted = groups.map(({ nextHop, hosts, returnPath, recipients }) => ({ nextHop, hosts, returnPath, recipients: [...recipients].sort() }))
    const where = { nextHop: 'lmtp:unix:/run/lmtp', hosts: ['/run/lmtp'] }
    assert.deepEqual(wanted.sort((a, b) => Number(b.returnPath) - Number(a.returnPath)), [
      { ...where, returnPath: true, recipients: [0, 3] }, { ...where, returnPath: false, recipients: [1, 2] },
    ])
  }
})
