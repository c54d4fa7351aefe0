import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { ChaosResult } from './chaos/chaos.ts'
import { spawnAlone } from './chaos/means.ts'
import { planOf } from './chaos/plan.ts'
import type { Taking } from './chaos/sink.ts'
import { type Evidence, judge, kept } from './chaos/verdict.ts'
import { lacksDisk } from './support/disk.ts'
import { lacksTemporalServer } from './support/temporal-on-postgres.ts'

/** A run as by hand: with namespaces of its own where they may be had. */
async function run(...args: string[]): Promise<ChaosResult> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-chaos-test-'))
  const json = join(folder, 'result.json')
  try {
    const child = spawnAlone([fileURLToPath(new URL('./chaos/run.js', import.meta.url)), '--seed', '20261124', '--json', json, ...args], ['ignore', 'pipe', 'pipe'])
    let said = ''
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text: Buffer) => { said += text })
    const code = await new Promise((resolve) => child.once('close', resolve))
    assert.equal(code, 0, said)
    return JSON.parse(readFileSync(json, 'utf8')) as ChaosResult
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

test('killed, paused, starved and cut off at random and at named points: what was answered 250 is delivered or reported, once, or the records say why', { timeout: 900_000 }, async () => {
  // A busy machine gets less done in these minutes.
  const { verdict, kills } = await run('--kills', '50', '--messages', '5000', '--minutes', '4')
  assert.ok(Object.values(kills).reduce((sum, count) => sum + count) >= 25)
  assert.ok(verdict.told.accepted >= 300)
})

test("the same where Temporal's real server shares our Postgres, as operators run it", { timeout: 900_000, skip: lacksTemporalServer() ?? false }, async () => {
  const { verdict, kills } = await run('--kills', '20', '--messages', '1000', '--minutes', '1', '--temporal-on-postgres')
  assert.ok(Object.values(kills).reduce((sum, count) => sum + count) >= 5)
  assert.ok(verdict.told.accepted >= 50)
})

test('negative control: a 250 before COMMIT is found out', { timeout: 300_000 }, async () => {
  const { verdict } = await run('--kills', '4', '--messages', '100', '--minutes', '1', '--patience', '5', '--sabotage', 'early-250')
  assert.ok(verdict.lost.length > 0)
})

test('negative control: attempts whose dot is not recorded are found out', { timeout: 300_000 }, async () => {
  const { verdict } = await run('--kills', '8', '--messages', '100', '--minutes', '2', '--patience', '60', '--sabotage', 'forget-dot')
  assert.ok(verdict.unattributed.length > 0)
})

test('negative control: Maildirs that are not synced are found out when the power goes', { timeout: 300_000, skip: lacksDisk() }, async () => {
  const { verdict } = await run('--kills', '12', '--messages', '150', '--minutes', '2', '--patience', '5', '--sabotage', 'no-sync')
  assert.ok(verdict.lost.length + verdict.corrupt.length > 0)
})

test('the verdict tells loss, contradiction, falsehood and duplicates', () => {
  const seed = 5
  const i = Array.from({ length: 100 }, (_, i) => i).find((i) => planOf(seed, i).recipients.length === 1)!
  const to = planOf(seed, i).recipients[0]!
  const record = { id: 'A', n: 0, forwardPath: to, state: 'delivered' as const, deadLetter: false, parent: null }
  const attempt = { id: 'A', number: 1, recipients: [0], dotSent: true, replied: [], givenUp: false }
  const taking: Taking = { at: '', id: 'A', recipients: [to], replied: true, corrupt: false, failed: null }
  const about = { ...record, id: 'D', forwardPath: `from-${i}@sink.chaos`, parent: 'A' }
  const report = { ...taking, id: 'D', recipients: [about.forwardPath], failed: [to] }
  const told = (result: 'accepted' | 'refused' | 'unknown', change: Partial<Evidence> = {}) => judge({
    seed, ledger: [{ i, result, reply: '250 2.0.0 Ok: queued as A' }], takings: [taking], maildirs: new Map(), recipients: [record], attempts: [attempt], ...change,
  })
  assert.ok(kept(told('accepted')))
  assert.equal(told('accepted', { takings: [] }).lost.length, 1)
  assert.equal(told('accepted', { takings: [], recipients: [] }).lost.length, 1)
  assert.equal(told('accepted', { takings: [taking, report], recipients: [record, about] }).deliveredAndBounced.length, 1)
  assert.ok(kept(told('accepted', { takings: [report], recipients: [{ ...record, state: 'bounced' }, about] })))
  const untold = { recipients: [{ ...record, state: 'bounced' as const }, about], takings: [] }
  assert.equal(told('accepted', untold).lost.length, 1, 'a report that is delivered, and was never taken')
  assert.equal(told('accepted', { ...untold, recipients: [untold.recipients[0]!, { ...about, state: 'queued' }] }).outcomes.queued, 1)
  assert.equal(told('refused').deliveredThoughRefused.length, 1)
  assert.equal(judge({ seed, ledger: [{ i, result: 'absent', reply: '550 5.1.1 No' }], takings: [], maildirs: new Map(), recipients: [], attempts: [] }).refusedForGood.length, 1)
  assert.equal(told('unknown').unknownTaken, 1)
  assert.equal(told('accepted', { takings: [taking, taking] }).duplicates.length, 1)
  assert.deepEqual(told('accepted', { takings: [taking, taking], attempts: [attempt, { ...attempt, number: 2, replied: [0] }] }).duplicatesBy, { 'taken 2 times: 1 no reply, 1 replied': 1 })
  assert.equal(told('accepted', { takings: [taking, taking, taking] }).unattributed.length, 1)
  assert.equal(told('accepted', { takings: [taking, taking], attempts: [{ ...attempt, givenUp: true }] }).unattributed.length, 1)
  assert.equal(told('accepted', { takings: [{ ...taking, corrupt: true }] }).corrupt.length, 1)
})
