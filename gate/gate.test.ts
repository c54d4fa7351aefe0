import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import type { Outcome } from '../mail/outcome.ts'
import { onSource } from '../mail/verdict.ts'
import { settingsSchema } from '../settings/schema.ts'
import type { DestinationRow } from '../store/destinations.ts'
import { createGate } from './gate.ts'
import type { GateLink, Pass, Refusal } from './types.ts'

const settings = { ...settingsSchema.parse({}).destinations, concurrency: 5 }
const fastLane = 50
const entry = (id: string, name: string) => ({ id, destination: name, nextHop: name, network: true })

function startGate(row?: Partial<DestinationRow> & { name: string }) {
  const whole: DestinationRow = {
    name: '', suspendedUntil: null, suspendedBy: '', suspendedWhy: '', suspendedAt: null, concurrency: null, rate: null,
    circuitUntil: null, circuitStep: 1, circuitSince: null, circuitWhy: 'no greeting', probeUntil: null, ...row,
  }
  const rows = new Map(row ? [[row.name, whole]] : [])
  const told: string[] = []
  const link = {
    rows: () => rows, part: () => null, freed() {}, count() {}, claimProbe: async () => true,
    releaseProbe: () => told.push('release'), openCircuit: () => told.push('open'), closeCircuit: () => told.push('close'),
  } as Partial<GateLink> as GateLink
  return { row: whole, told, gate: createGate({ settings, fastLane, inLine: 5, slowest: 8, link, log: pino({ level: 'silent' }) }) }
}

/** How many of so many messages come back in the second in which most do, and when the first and the last do. */
async function comeBack(gate: ReturnType<typeof startGate>['gate'], name: string, messages: number): Promise<{ most: number; first: number; last: number }> {
  const bySecond = new Map<number, number>()
  let [first, last] = [Number.POSITIVE_INFINITY, 0]
  for (let i = 0; i < messages; i++) {
    const at = (await gate.look(entry(`m${i}`, name)))!.until.getTime()
    const second = Math.floor(at / 1000)
    bySecond.set(second, (bySecond.get(second) ?? 0) + 1)
    first = Math.min(first, at)
    last = Math.max(last, at)
  }
  return { most: Math.max(...bySecond.values()), first, last }
}

test('what waits behind an open circuit comes back a few at a time, and soon after each pause; while it is probed no faster', async () => {
  const [name, hour] = ['dead.test', 3_600_000]
  const { gate, row } = startGate({ name, circuitUntil: new Date(Date.now() + 60_000) })
  const waiting = await comeBack(gate, name, 10_000)
  // Within the last half hour of the longest wait those who found no place; all of them came within half a minute once.
  assert.ok(waiting.most <= 20, `${waiting.most} in a second`)
  const late = () => waiting.first - row.circuitUntil!.getTime()
  assert.ok(late() > 0 && late() < 1000, `the first ${late()} ms after the pause`)

  Object.assign(row, { circuitUntil: new Date(Date.now() - 1000), probeUntil: new Date(Date.now() + hour) })
  const probed = await comeBack(gate, name, 10_000)
  assert.ok(probed.most <= 20, `${probed.most} in a second`)

  // The probe has failed.
  Object.assign(row, { circuitUntil: new Date(Date.now() + 120_000), probeUntil: null })
  Object.assign(waiting, await comeBack(gate, name, 10))
  assert.ok(late() > 0 && late() < 1000, `the first ${late()} ms after the next pause`)
})

test('what waits for the end of a suspension comes back some at a time, the more the longer; a few are spread over destinations.resumeOver', async () => {
  const until = new Date(Date.now() + 60_000)
  const few = await comeBack(startGate({ name: 'moved.test', suspendedUntil: until }).gate, 'moved.test', 20)
  const seconds = (at: number) => (at - until.getTime()) / 1000
  assert.ok(seconds(few.first) > 0 && seconds(few.last) > 10 && seconds(few.last) < 32, `from ${seconds(few.first)} to ${seconds(few.last)} s after it`)

  const many = await comeBack(startGate({ name: 'moved.test', suspendedUntil: until }).gate, 'moved.test', 30_000)
  // All of them came within half a minute once, a thousand a second.
  assert.ok(many.most <= 50, `${many.most} in a second`)
  assert.ok(seconds(many.last) > 1400 && seconds(many.last) < 1600, `until ${seconds(many.last)} s after it`)
})

test('slow destinations leave room for the others, however many they are', async () => {
  const { gate } = startGate()
  const pass = async (name: string) => await gate.enter(entry('m', name), AbortSignal.timeout(10_000))
  const slow = ['a.test', 'b.test', 'c.test']
  const under = [] as Pass[]
  for (const name of slow) under.push((await pass(name)) as Pass)
  await sleep(2 * fastLane)
  const went = { 'a.test': 0, 'b.test': 0, 'c.test': 0 } as Record<string, number>
  let last: Refusal | null = null
  for (const name of slow) for (let i = 0; i < 10; i++) {
    const entered = await pass(name)
    if (entered.kind === 'pass') went[name] = went[name]! + 1
    else last = entered as Refusal
  }
  // Beside the one of each that is under way.
  assert.deepEqual(went, { 'a.test': 4, 'b.test': 1, 'c.test': 0 })
  assert.match(last!.why, /attempts for c.test last long: 5 may be under way at a time, and 8 for all such/)
  assert.equal((await pass('healthy.test')).kind, 'pass')
  // One that ends makes room for any of them.
  under[0]!.leave(null)
  assert.equal((await pass('c.test')).kind, 'pass')
})

function outcome(status: Outcome['status'], phase: Outcome['phase'], code: number | null): Outcome {
  return { status, phase, enhanced: '4.0.0', reply: code === null ? null : { code, enhanced: null, text: '' }, text: '', host: null, address: null, tls: null }
}
const failures = [outcome('deferred', 'connect', null), outcome('deferred', 'greeting', 554), outcome('deferred', 'auth', 535), outcome('deferred', 'rcpt', 421), outcome('deferred', 'dns', null)]
const answers = [outcome('delivered', 'dot', 250), outcome('bounced', 'rcpt', 550), outcome('deferred', 'dot', 451), outcome('deferred', 'local', null)]
/** One worker's lost address is no failure of all destinations. */
const ours = onSource('192.0.2.1', 'this machine has no such address', { host: 'x.test', address: '192.0.2.2', tls: null })
const brief = ({ phase, reply }: Outcome) => `${phase} ${reply?.code}`

test('a circuit opens for failures of the host: no answer, 421, a refused greeting or login; not for refused mail, for what never came there, nor for a source address that we lack', async () => {
  for (const each of [...failures, ...answers, outcome('deferred', 'policy', null), outcome('bounced', 'dns', null), ours]) {
    const { gate, told } = startGate()
    for (let i = 0; i < 5; i++) ((await gate.enter(entry(`m${i}`, 'x.test'), null)) as Pass).leave([each])
    assert.deepEqual(told, failures.includes(each) ? ['open'] : [], brief(each))
  }
})

test('a probe that fails opens the circuit again, one that is answered closes it, and one without a verdict leaves it to the next', async () => {
  const cases = [...failures.map((each) => [[each], 'open'] as const), ...answers.map((each) => [[each], 'close'] as const), [null, 'release'] as const]
  for (const [outcomes, wanted] of cases) {
    const { gate, told } = startGate({ name: 'x.test', circuitUntil: new Date(Date.now() - 1000) })
    ;((await gate.enter(entry('m', 'x.test'), null)) as Pass).leave(outcomes && [...outcomes])
    assert.deepEqual(told, [wanted], outcomes ? brief(outcomes[0]) : '')
  }
})
