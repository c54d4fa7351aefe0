import assert from 'node:assert/strict'
import { test } from 'node:test'
import { builtInProviders } from './destination.ts'
import type { Outcome } from './outcome.ts'
import { makeReply } from './reply.ts'
import { type Deferral, findRule, givesUpAt, nextAttemptAt, queueLifetime, type RetryRule, ruled } from './retry.ts'
import { builtInRules } from './retry-rules.ts'
import { local, onLoss, onReply } from './verdict.ts'

const schedule = { minimalBackoffTime: 300_000, maximalBackoffTime: 14_400_000 }
const deferral = (change: Partial<Deferral>): Deferral => ({ now: 0, attempts: 1, rule: undefined, times: 0, schedule, random: 0, ...change })
const none = { times: {}, since: {} }
const peer = (host: string) => ({ host, address: '192.0.2.1', tls: null })
const said = (code: number, text: string, phase: Outcome['phase'] = 'rcpt', host = 'mx.x.test') => onReply(makeReply(code, [text]), phase, peer(host))
const to = { domain: 'x.test', nextHop: 'x.test' }

test('the pause doubles from the minimal to the maximal backoff time', () => {
  // None: it never came as far as the wire.
  const pauses = [0, 1, 2, 3, 6, 7, 50].map((attempts) => nextAttemptAt(deferral({ attempts })) / 1000)
  assert.deepEqual(pauses, [300, 300, 600, 1200, 9600, 14_400, 14_400])
})

test('jitter adds up to a tenth and never takes away', () => {
  assert.equal(nextAttemptAt(deferral({ now: 1000, random: 1 })), 1000 + 330_000)
  assert.equal(nextAttemptAt(deferral({ now: 1000 })), 1000 + 300_000)
})

test('a rule fits when all that it names fits', () => {
  const match = { domain: ['*.y.test', 'X.test'], nextHop: ['mx.x.test'], phase: ['rcpt' as const], code: ['45x'], enhanced: ['4.7.x'], text: /later/i }
  const rule: RetryRule = { name: 'r', match, then: { action: 'retry' } }
  assert.equal(findRule(said(451, '4.7.1 try Later'), to, [rule]), rule)
  for (const other of [said(421, '4.7.1 later'), said(451, '4.2.1 later'), said(451, '4.7.1 no'), said(451, '4.7.1 later', 'mail'), said(451, '4.7.1 later', 'rcpt', 'mx.z.test')]) {
    assert.equal(findRule(other, to, [rule]), undefined)
  }
  assert.equal(findRule(said(451, '4.7.1 later'), { ...to, domain: 'y.test' }, [rule]), undefined)
  assert.equal(findRule(said(451, '4.7.650 later', 'rcpt', 'mx.z.test'), { ...to, nextHop: 'MX.x.test' }, [rule]), rule, 'by the name of the next hop, too')
  const byText = { ...rule, match: { text: /^(later|.*ECONNREFUSED)/ } }
  assert.equal(findRule(said(451, '4.7.1 later'), to, [byText]), byText, 'the text is that of the reply alone')
  assert.equal(findRule(onLoss('connect', 'ECONNREFUSED', peer('mx.x.test')), to, [byText]), byText, 'where there is one')
  // What no host has said, such as a suspension, is no rule's to decide; neither is a delivery.
  assert.equal(findRule(local('deferred', '4.4.2', 'suspended', 'policy'), to, [{ ...rule, match: {} }]), undefined)
  assert.equal(findRule(said(250, '2.0.0 later', 'dot'), to, [{ ...rule, match: {} }]), undefined)
})

test('an action turns the outcome, and its code keeps to the class', () => {
  const rule = (action: RetryRule['then']['action'], enhanced?: string): RetryRule => ({ name: 'r', match: {}, then: { action, enhanced } })
  const turned = (outcome: Outcome, by: RetryRule) => [ruled(outcome, by, none, 0).outcome.status, ruled(outcome, by, none, 0).outcome.enhanced]
  assert.deepEqual(turned(said(550, '5.7.1 blocked'), rule('defer')), ['deferred', '4.7.1'])
  assert.deepEqual(turned(said(550, '5.7.1 blocked'), rule('suspendDestination')), ['deferred', '4.7.1'])
  assert.deepEqual(turned(said(450, '4.7.1 never'), rule('bounce')), ['bounced', '5.7.1'])
  assert.deepEqual(turned(said(450, '4.7.1 never'), rule('bounce', '5.1.1')), ['bounced', '5.1.1'])
  assert.deepEqual(turned(said(550, '5.1.1 gone'), rule('nextHost')), ['bounced', '5.1.1'])
  const before = { times: { r: 2, s: 1 }, since: { r: 50, s: 60 } }
  const by = ruled(said(450, ''), rule('retry'), before, 99)
  assert.deepEqual([by.outcome.rule, by.ruled], [{ name: 'r' }, { times: { r: 3, s: 1 }, since: { r: 50, s: 60 } }])
  assert.deepEqual(ruled(said(450, ''), rule('retry'), none, 99).ruled, { times: { r: 1 }, since: { r: 99 } })
  assert.deepEqual(ruled(said(450, ''), undefined, before, 99).ruled, before, 'what no rule decides takes nothing away')
})

test('a rule gives up a time after it first decided; one without such a time never does', () => {
  const rule: RetryRule = { name: 'r', match: {}, then: { action: 'retry', giveUpAfter: 86_400_000 } }
  const decided = { times: { r: 3 }, since: { r: 1000 } }
  assert.equal(givesUpAt(rule, decided), 86_401_000)
  assert.equal(givesUpAt({ ...rule, then: { action: 'retry' } }, decided), null)
  assert.equal(givesUpAt(undefined, decided), null)
})

test('a rule has a schedule of its own, counted by its own decisions, and the last pause repeats', () => {
  const rule: RetryRule = { name: 'r', match: {}, then: { action: 'retry', schedule: [60_000, 120_000, 86_400_000] } }
  assert.deepEqual([1, 2, 3, 9].map((times) => nextAttemptAt(deferral({ attempts: 40, rule, times })) / 1000), [60, 120, 86_400, 86_400])
  const once: RetryRule = { name: 'r', match: {}, then: { action: 'defer', for: 7_200_000 } }
  assert.equal(nextAttemptAt(deferral({ rule: once, times: 5 })), 7_200_000)
})

test('built-in rules: greylisting soon, what somebody must mend slowly, all bounded by the maximal backoff time', () => {
  const named = (outcome: Outcome) => findRule(outcome, to, builtInRules)
  const pause = (outcome: Outcome, times: number) => nextAttemptAt(deferral({ rule: named(outcome), times })) / 60_000
  const first = (outcome: Outcome) => pause(outcome, 1)
  assert.deepEqual([named(said(450, '4.2.0 Greylisted, see http://x'))?.name, first(said(450, 'You are greylisted'))], ['greylisted', 1])
  assert.equal(pause(said(450, 'You are greylisted'), 2), 5)
  for (const phase of ['rcpt', 'local'] as const) assert.equal(first(said(452, '4.2.2 mailbox full', phase)), 30)
  assert.equal(first(said(421, '4.7.0 too many connections from you', 'greeting')), 5)
  for (const phase of ['tls', 'auth'] as const) assert.equal(first(onLoss(phase, 'wrong version', peer('mx.x.test'))), 15)
  assert.equal(named(onLoss('connect', 'ECONNREFUSED', peer('mx.x.test'))), undefined)
  assert.equal(named(said(451, '4.7.1 not now')), undefined)
  for (const code of ['4.7.28', '4.7.0']) assert.equal(named(said(421, `${code} unusual rate`, 'mail', 'alt1.gmail-smtp-in.l.google.com'))?.name, 'google rate limit')
  assert.equal(named(said(421, '4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred', 'mail', 'mta5.am0.yahoodns.net'))?.name, 'yahoo deferral')
  assert.equal(ruled(said(421, '[TSS09] permanently deferred', 'mail', 'mta5.am0.yahoodns.net'), named(said(421, '[TSS09] x', 'mail', 'mta5.am0.yahoodns.net')), none, 0).outcome.status, 'bounced')
  const short = { ...schedule, maximalBackoffTime: 3_600_000 } // some pause of theirs is longer
  for (const rule of builtInRules) {
    for (let times = 1; times < 12; times++) assert.ok(nextAttemptAt(deferral({ rule, times, schedule: short })) <= short.maximalBackoffTime, rule.name)
  }
})

test('a provider is the same hosts for its retry rules as for its circuit', () => {
  const rules = builtInRules.filter(({ match }) => match.nextHop)
  assert.equal(rules.length, 9)
  for (const { name, match } of rules) {
    const { hosts } = builtInProviders.find((provider) => name.startsWith(`${provider.name} `))!
    assert.deepEqual(hosts.filter((host) => !match.nextHop!.includes(host)), [], name)
  }
  assert.equal(findRule(said(451, '4.7.650 The mail server has been temporarily rate limited', 'mail', 'x-test.a-v1.mx.microsoft'), to, builtInRules)?.name, 'microsoft block')
})

test('the queue lifetime goes by the sender: the first class that fits', () => {
  const retry = {
    maximalQueueLifetime: 5, bounceQueueLifetime: 2,
    lifetimes: [{ users: ['robot'], lifetime: 1 }, { from: ['news@x.test'], lifetime: 3 }, { from: ['*.x.test', 'x.test'], lifetime: 4 }],
  }
  const found = [['a@y.test', null], ['a@y.test', 'robot'], ['news@x.test', null], ['a@x.test', null], ['a@sub.x.test', 'u'], ['"b@y"@x.test', null], ['', 'robot']] as const
  assert.deepEqual(found.map(([from, user]) => queueLifetime(from, user, retry)), [5, 1, 3, 4, 4, 4, 2])
})
