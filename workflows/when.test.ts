import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Group } from '../activities/types.ts'
import type { Progress } from '../mail/progress.ts'
import { historyNow, isDueSoon, newState, nextStep, quietAfter, type State, seenAt, type Step } from './when.ts'

const [second, minute, hour, day] = [1000, 60_000, 3_600_000, 86_400_000]
const patience = 15 * minute
const now = Date.UTC(2026, 0, 1)
const never = Date.UTC(9999, 0, 1)
const hop: Group = { nextHop: 'a.test', destination: 'a.test', recipients: [0], agent: 'smtp', hosts: ['a.test'], port: 25, returnPath: false }
const hops = (count: number) => new Set(Array.from({ length: count }, () => ({ ...hop })))

/** One recipient is owed, the next attempt is due in an hour, and nothing is under way; but for what is given. `seen` is what was seen before. */
function stateOf({ progress, ...more }: Partial<Omit<State, 'progress'>> & { progress?: Partial<Progress> } = {}): State {
  const state: State = {
    ...newState(), look: false, ...more,
    progress: { queued: 1, unreported: 0, nextAt: now + hour, leasedUntil: null, expiresAt: now + day, heldAt: null, ...progress },
  }
  return { ...state, seen: seenAt(state, now) }
}

const step = (given: Parameters<typeof stateOf>[0], at = now): Step => {
  const state = stateOf(given)
  return nextStep({ ...state, seen: seenAt(state, at) }, at)
}
const wait = (until: number | null): Step => ({ what: 'wait', until })
const report = (due: { expire?: boolean; delayed?: boolean } = {}): Step => ({ what: 'report', due: { expire: false, delayed: false, ...due } })
const nobody = { queued: 0, nextAt: null }

test('it looks when something may be due, as long as there is room and no trouble', () => {
  assert.deepEqual(step({ look: true }), { what: 'look' })
  assert.deepEqual(step({ look: true, inFlight: hops(19) }), { what: 'look' })
  assert.deepEqual(step({ look: true, inFlight: hops(20), progress: { nextAt: null } }), wait(null))
  assert.deepEqual(step({ look: true, troubleUntil: now + 1 }), wait(now + 1))
  assert.deepEqual(step({ look: true, troubleUntil: now }), { what: 'look' })
  assert.deepEqual(nextStep(newState(), now), { what: 'look' }, 'of what nothing is known, all may be due')
})

test('it ends when nothing is owed, nothing is under way and nothing has come meanwhile', () => {
  assert.deepEqual(step({ progress: nobody }), { what: 'end' })
  assert.deepEqual(step({ progress: nobody, look: true }), { what: 'look' })
  assert.deepEqual(step({ progress: nobody, inFlight: hops(1) }), wait(null))
})

test('it waits for whatever is due first', () => {
  assert.deepEqual(step({}), wait(now + hour))
  assert.deepEqual(step({ delayAt: now + minute }), wait(now + minute))
  assert.deepEqual(step({ progress: { expiresAt: now + minute } }), wait(now + minute))
  assert.deepEqual(step({ progress: { leasedUntil: now + minute } }), wait(now + minute), 'a lease from before this run')
  assert.deepEqual(step({ progress: { leasedUntil: now + minute }, inFlight: hops(1) }), wait(now + hour), 'a lease of our own says nothing')
  assert.deepEqual(step({ progress: { nextAt: null }, delayAt: now + minute, inFlight: hops(1) }), wait(null), 'all are being tried')
  assert.deepEqual(step({ progress: { nextAt: null, heldAt: now, expiresAt: never } }), wait(null), 'on hold')
  assert.deepEqual(step({ progress: { nextAt: null } }), wait(now + minute), 'nobody knows why: looked at in a minute')
})

test('what is due and was not found is asked for after a pause, the longer the more often it was not found', () => {
  const due = { nextAt: now - second }
  const plan = { groups: [], attempts: [], progress: stateOf({ progress: due }).progress }
  const pauses = [0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
  for (const [i, pause] of pauses.slice(1).entries()) assert.equal(quietAfter(pauses[i]!, plan, now), pause)
  assert.deepEqual(step({ progress: due, quiet: 4000 }), wait(now + 4000))
  assert.deepEqual(step({ progress: { nextAt: now }, quiet: 4000 }), wait(now + 4000))
  assert.deepEqual(step({ progress: due }), wait(now), 'not asked for yet: at once')

  const ended = { number: 1, at: '', nextHop: 'a.test', tries: [], outcomes: [] }
  assert.equal(quietAfter(8000, { ...plan, groups: [hop] }, now), 0)
  assert.equal(quietAfter(8000, { ...plan, attempts: [ended] }, now), 0)
  assert.equal(quietAfter(8000, { ...plan, progress: { ...plan.progress, nextAt: now + 1 } }, now), 0)
  assert.equal(quietAfter(8000, { ...plan, progress: { ...plan.progress, nextAt: null } }, now), 16_000)
})

test('what is due within five seconds is looked for, whose clock ever is right', () => {
  const isDue = (nextAt: number | null) => isDueSoon(stateOf({ progress: { nextAt } }).progress, now)
  assert.deepEqual([now - hour, now + 5000, now + 5001, null].map(isDue), [true, true, false, false])
})

test('who has failed is reported when nothing is under way and nothing more may fail, or after a quarter of an hour', () => {
  const failed = { unreported: 1 }
  assert.deepEqual(step({ progress: failed }), report())
  assert.deepEqual(step({ progress: { ...failed, ...nobody } }), report(), 'before it ends')
  assert.deepEqual(step({ progress: { ...failed, nextAt: null, heldAt: now, expiresAt: never } }), report(), 'a hold keeps nobody from being told')
  assert.deepEqual(step({ progress: failed, look: true }), { what: 'look' }, 'more may fail')
  assert.deepEqual(step({ progress: failed, look: true, troubleUntil: now + 1 }), report(), 'nothing is tried for now')
  assert.deepEqual(step({ progress: failed, look: true, history: { length: 2001, longFrom: 2001 } }), report(), 'nothing is tried in this run any more')
  const beside = { progress: { ...failed, nextAt: null }, inFlight: hops(1) }
  assert.deepEqual(step(beside), wait(now + patience))
  assert.deepEqual(step({ ...beside, look: true, inFlight: hops(20) }), wait(now + patience))
  assert.deepEqual(step(beside, now + patience - 1), wait(now + patience))
  assert.deepEqual(step(beside, now + patience), report())
  assert.deepEqual(step({ ...beside, seen: { ...newState().seen, unreported: now - minute } }), wait(now - minute + patience), 'since it was seen first')
  assert.deepEqual(step({ progress: { ...failed, nextAt: null, heldAt: now, expiresAt: never }, inFlight: hops(1) }), wait(now + patience), 'on hold, too')
})

test('the sender is told of a delay when it is due and the attempts are over, or after a quarter of an hour', () => {
  assert.deepEqual(step({ delayAt: now }), report({ delayed: true }))
  assert.deepEqual(step({ delayAt: now + 1 }), wait(now + 1))
  assert.deepEqual(step({ delayAt: now, look: true }), { what: 'look' }, 'it may be delivered yet')
  assert.deepEqual(step({ delayAt: now, progress: { nextAt: now } }), wait(now), 'the same')
  assert.deepEqual(step({ delayAt: now, look: true, troubleUntil: now + 1 }), report({ delayed: true }))
  assert.deepEqual(step({ delayAt: now, progress: { nextAt: null, heldAt: now, expiresAt: never } }), wait(null), 'who put it on hold knows')
  assert.deepEqual(step({ delayAt: now, progress: { ...nobody, unreported: 1 } }), report(), 'nobody waits')
  assert.deepEqual(step({ delayAt: now, inFlight: hops(1) }), wait(now + patience))
  assert.deepEqual(step({ delayAt: now - hour, inFlight: hops(1) }), wait(now + patience), 'since it was seen first')
  assert.deepEqual(step({ delayAt: now + minute, inFlight: hops(20), look: true }), wait(now + minute + patience), 'there is no room to look')
  assert.deepEqual(step({ delayAt: now, inFlight: hops(1) }, now + patience), report({ delayed: true }))
})

test('whoever is over the queue lifetime expires after a last attempt, or after a quarter of an hour of waiting for one', () => {
  const over = { expiresAt: now }
  assert.deepEqual(step({ progress: over }), report({ expire: true }))
  assert.deepEqual(step({ progress: { expiresAt: now + 1 } }), wait(now + 1))
  assert.deepEqual(step({ progress: over, look: true }), { what: 'look' }, 'the last attempt')
  assert.deepEqual(step({ progress: { ...over, nextAt: now }, quiet: second }), wait(now + second), 'the same')
  assert.deepEqual(step({ progress: over, look: true, troubleUntil: now + 1 }), report({ expire: true }), 'one that cannot be made counts as made')
  assert.deepEqual(step({ progress: over, inFlight: hops(1) }), wait(now + patience))
  assert.deepEqual(step({ progress: { expiresAt: now - hour }, inFlight: hops(1) }), wait(now + patience), 'since it was seen first')
  assert.deepEqual(step({ progress: { expiresAt: now + minute }, inFlight: hops(20), look: true }), wait(now + minute + patience), 'there is no room to look')
  assert.deepEqual(step({ progress: over, inFlight: hops(1) }, now + patience), report({ expire: true }), 'so does one whose turn does not come')
  assert.deepEqual(step({ progress: { ...over, leasedUntil: now + minute } }), wait(now + minute), 'an attempt of before may bring a yes yet')
  assert.deepEqual(step({ progress: { ...over, leasedUntil: now + hour } }, now + patience), report({ expire: true }))
  assert.deepEqual(step({ progress: { ...over, nextAt: null }, inFlight: hops(1) }, now + day), wait(null), 'all are being tried: whatever comes of it')
  assert.deepEqual(step({ progress: { ...over, nextAt: null } }), report({ expire: true }))
})

test('what was seen is forgotten when it is so no longer, and only then', () => {
  const before = { unreported: now - 1, delayed: now - 2, expired: now - 3 }
  const seen = (given: Parameters<typeof stateOf>[0]) => stateOf({ seen: before, delayAt: now, ...given }).seen
  assert.deepEqual(seen({ progress: { unreported: 1, expiresAt: now } }), before)
  assert.deepEqual(seen({}), { unreported: null, delayed: now - 2, expired: null })
  assert.deepEqual(seen({ delayAt: null, progress: { expiresAt: now } }), { unreported: null, delayed: null, expired: now - 3 })
  assert.deepEqual(seen({ progress: { ...nobody, expiresAt: now } }), { unreported: null, delayed: null, expired: null })
  assert.deepEqual(stateOf({ delayAt: now, progress: { unreported: 1, expiresAt: now } }).seen, { unreported: now, delayed: now, expired: now })
})

test('a long history is cut when nothing is under way, and at four times the length at which that was wanted whatever is', () => {
  const of = (historyLength: number, continueAsNewSuggested = false, longFrom: number | null = null) => historyNow({ length: 0, longFrom }, { historyLength, continueAsNewSuggested })
  assert.deepEqual([of(2000), of(2001), of(60, true), of(70, true, 60), of(70, false, 60)].map(({ longFrom }) => longFrom), [null, 2001, 60, 60, 60])
  assert.equal(of(70, true, 60).length, 70)
  assert.deepEqual(step({ history: of(2001), look: true }), { what: 'continue as new' })
  assert.deepEqual(step({ history: of(2001), inFlight: hops(1), progress: { nextAt: null } }), wait(null))
  assert.deepEqual(step({ history: of(240, true, 60), inFlight: hops(1), look: true }), { what: 'look' })
  assert.deepEqual(step({ history: of(241, true, 60), inFlight: hops(1), look: true }), { what: 'continue as new' })
})

/** Times from days before `now` to days after, many of them close to it, or to where patience ends. */
const times = fc.oneof(
  fc.constantFrom(now - patience, now - 1, now, now + 1, now + patience),
  fc.integer({ min: now - 20 * minute, max: now + 20 * minute }), fc.integer({ min: now - 6 * day, max: now + 6 * day }),
)
const earlier = times.filter((at) => at <= now)
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null })

/** Any state that Postgres and the steps before may have left. */
const states: fc.Arbitrary<State> = fc.record({
  queued: fc.integer({ min: 0, max: 2 }), unreported: fc.integer({ min: 0, max: 2 }), nextAt: maybe(times), leasedUntil: maybe(times), expiresAt: times,
  heldAt: fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: earlier }),
  delayAt: maybe(times), underWay: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.constantFrom(1, 19, 20) }), look: fc.boolean(),
  quiet: fc.constantFrom(0, 1000, 60_000), troubleUntil: fc.constantFrom(0, now, now + 1, now + minute),
  unreportedSince: maybe(earlier), delayedSince: maybe(earlier), expiredSince: maybe(earlier),
  length: fc.constantFrom(7, 2001, 9000), longFrom: fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.constant(2001) }),
}).map((any) => stateOf({
  progress: {
    queued: any.queued, unreported: any.unreported, heldAt: any.heldAt, expiresAt: any.heldAt === null ? any.expiresAt : never,
    nextAt: any.queued > 0 && any.heldAt === null ? any.nextAt : null, leasedUntil: any.queued > 0 ? any.leasedUntil : null,
  },
  delayAt: any.delayAt, inFlight: hops(any.underWay), look: any.look, quiet: any.quiet, troubleUntil: any.troubleUntil,
  seen: { unreported: any.unreportedSince, delayed: any.delayedSince, expired: any.expiredSince }, history: { length: any.length, longFrom: any.longFrom },
}))

/** What must hold of the step that follows from any state. */
function always(property: (state: State, step: Step) => void): void {
  fc.assert(fc.property(states, (state) => property(state, nextStep(state, now))), { numRuns: 3000 })
}

test('of any state: a wait ends by itself unless an attempt is under way or the message is on hold, and never before it begins', () => {
  always(({ inFlight, progress }, step) => {
    if (step.what !== 'wait') return
    if (step.until === null) assert.ok(inFlight.size > 0 || progress.heldAt !== null)
    else assert.ok(step.until >= now)
  })
})

test('of any state: it ends only when nothing is owed, and is then done', () => {
  always(({ inFlight, progress, look }, step) => {
    if (step.what === 'end') assert.deepEqual([inFlight.size, progress.queued, progress.unreported, look], [0, 0, 0, false])
  })
})

test('of any state: nobody expires before the end of the queue lifetime, on hold, or while somebody else may bring a yes, unless they have waited long', () => {
  always(({ inFlight, progress, look, troubleUntil, seen }, step) => {
    if (step.what !== 'report' || !step.due.expire) return
    assert.ok(progress.queued > 0 && progress.heldAt === null && progress.expiresAt <= now)
    if (seen.expired! + patience <= now && progress.nextAt !== null) return
    assert.ok(inFlight.size === 0 && progress.leasedUntil === null && (!look || troubleUntil > now))
  })
})

test('of any state: whoever waits for a turn expires a quarter of an hour after the end of the lifetime was seen, and is looked at by then', () => {
  always(({ inFlight, progress: { nextAt, leasedUntil }, seen, troubleUntil }, step) => {
    if (seen.expired === null || nextAt === null) return
    const by = seen.expired + patience
    if (by <= now) assert.ok(step.what === 'report' && step.due.expire)
    else if (step.what === 'wait') {
      // A lease of another run is waited for to its end, and so is a pause.
      const lease = inFlight.size === 0 ? (leasedUntil ?? 0) : 0
      const pause = nextAt <= now || lease <= now ? now + minute : 0
      assert.ok(step.until! <= Math.max(by, lease, pause, troubleUntil))
    }
  })
})

test('of any state: whoever has failed is told of within a quarter of an hour', () => {
  always(({ inFlight, seen, look, troubleUntil }, step) => {
    if (seen.unreported === null) return
    const by = seen.unreported + patience
    if (by <= now || (inFlight.size === 0 && !look)) assert.equal(step.what, 'report')
    else if (step.what === 'wait') assert.ok(step.until! <= Math.max(by, troubleUntil))
  })
})

test('of any state: a report has something to say, and is not asked for again when it was sent', () => {
  always((state, step) => {
    if (step.what !== 'report') return
    const { expire, delayed } = step.due
    assert.ok(expire || delayed || state.progress.unreported > 0)
    if (delayed) assert.ok(state.delayAt! <= now && state.progress.queued > 0 && state.progress.heldAt === null)
    assert.notEqual(nextStep({ ...sent(state, step.due) }, now).what, 'report')
  })
})

test('from any state, in a world where nothing is ever found and no lease of others ends: a few steps without a pause, and about one look a minute', () => {
  fc.assert(fc.property(states, (first) => {
    let [state, at, steps, looks] = [first, now, 0, 0]
    while (at < now + day) {
      state = { ...state, seen: seenAt(state, at) }
      const step = nextStep(state, at)
      if (step.what === 'report') state = sent(state, step.due)
      else if (step.what === 'look') {
        looks++
        const { leasedUntil } = state.progress
        const progress = { ...state.progress, leasedUntil: leasedUntil !== null && leasedUntil <= at ? at + minute : leasedUntil }
        state = { ...state, look: false, progress, quiet: quietAfter(state.quiet, { groups: [], attempts: [], progress }, at) }
      } else if (step.what === 'wait' && step.until !== null) {
        assert.ok(step.until >= at)
        if (step.until > at) steps = 0
        at = step.until
        state = { ...state, look: true }
      } else return
      assert.ok(++steps <= 5, `${steps} steps without a pause`)
      assert.ok(looks < (at - now) / minute + 20, `${looks} looks in ${at - now} ms`)
    }
  }), { numRuns: 300 })
})

/** After a report: who has failed is settled; who has expired, too, but for those whom an attempt has in hand. */
function sent(state: State, { expire, delayed }: { expire: boolean; delayed: boolean }): State {
  const progress = { ...state.progress, unreported: 0, ...(expire ? { ...nobody, leasedUntil: null } : {}) }
  const after = { ...state, progress, delayAt: delayed ? null : state.delayAt }
  return { ...after, seen: seenAt(after, now) }
}
