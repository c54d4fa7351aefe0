import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Notify } from '../mail/envelope.ts'
import type { Outcome } from '../mail/outcome.ts'
import { settingsSchema } from '../settings/schema.ts'
import type { ActivityDeps } from './index.ts'
import { judging, verdictOn } from './verdict-on.ts'

const deps = { settings: settingsSchema.parse({}) } as ActivityDeps
const delivered: Outcome = { status: 'delivered', phase: 'dot', enhanced: '2.0.0', reply: null, text: '', host: null, address: null, tls: null }
const recipient = (notify: Notify[]) => ({ n: 0, forwardPath: 'a@x.test', notify, orcpt: null, verp: null, attempts: 0, ruledBefore: { times: {}, since: {} } })
const state = (notify: Notify[], outcome: Outcome) => verdictOn(deps, recipient(notify), outcome, judging('x.test', Date.now(), Date.now() + 1000)).state

test('a success is ours to report where it was asked for, unless the next hop was asked to', () => {
  assert.equal(state(['SUCCESS', 'FAILURE'], delivered), 'notifying')
  assert.equal(state(['SUCCESS'], { ...delivered, dsnPassedOn: true }), 'delivered')
  for (const notify of [[], ['FAILURE'], ['NEVER']] as Notify[][]) assert.equal(state(notify, delivered), 'delivered')
})

test('recipients of one attempt are due at one moment; those of another are not', () => {
  const deferred: Outcome = { ...delivered, status: 'deferred', enhanced: '4.0.0' }
  const due = (by: ReturnType<typeof judging>) => verdictOn(deps, recipient([]), deferred, by).nextAttemptAt!.getTime()
  const [one, other] = [judging('x.test', 0, Date.now() + 1e9), judging('x.test', 0, Date.now() + 1e9)]
  assert.equal(new Set(Array.from({ length: 100 }, () => due(one))).size, 1)
  assert.notEqual(due(one), due(other))
})
