import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { findTimeSkippingServer } from '../dev/temporal.ts'
import type { SettingsFile } from '../settings/schema.ts'
import { startPeer } from '../smtp/testing.ts'
import { type AttemptRow, readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const [minutes, hours, days] = [60_000, 3_600_000, 86_400_000]

interface FiveDays {
  /** The reports that the sender got, once there are as many. */
  reports: string[]
  attempts: AttemptRow[]
  /** Milliseconds from the start of the workflow to its end. */
  lasted: number
  /** Of the timers that it waited on, in milliseconds. */
  pauses: number[]
  historyLength: number
}

/** A message that a host defers with this reply until it expires, on a server that skips the time between. */
async function deferForFiveDays(reply: string, settings: SettingsFile, reports: number): Promise<FiveDays> {
  const path = await findTimeSkippingServer(console.log)
  const environment = await TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } })
  const peer = await startPeer({ rcpt: { '*': reply } })
  const everpost = await prepareEverpost({ worker: {}, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }], ...settings }, environment.address)
  try {
    await everpost.start()
    const id = await everpost.send('x@partner.test', 'bob@example.test')
    await until('the first attempt', async () => (await readAttempts(everpost.sql, id, 1))[0]?.endedAt)
    await environment.connection.testService!.unlockTimeSkipping({})
    assert.deepEqual(await everpost.states(id), ['expired'])
    await until('the reports arrive', () => everpost.maildir('bob').length === reports)
    const handle = environment.client.workflow.getHandle(id)
    await until('the workflow ends', async () => (await handle.describe()).status.name === 'COMPLETED')
    const { startTime, closeTime, historyLength } = await handle.describe()
    const pauses = (await handle.fetchHistory()).events!.flatMap(({ timerStartedEventAttributes: timer }) => {
      const wait = timer?.startToFireTimeout
      return wait ? [Number(wait.seconds) * 1000 + (wait.nanos ?? 0) / 1e6] : []
    })
    return { reports: everpost.maildir('bob'), attempts: await readAttempts(everpost.sql, id, 100), lasted: closeTime!.getTime() - startTime.getTime(), pauses, historyLength }
  } finally {
    await everpost.end()
    await peer.close()
    await environment.teardown()
  }
}

/** Each pause as long as the schedule says, and up to a tenth longer. */
function assertPauses(pauses: number[], nominal: number[]): void {
  for (const [i, time] of nominal.entries()) {
    assert.ok(pauses[i]! >= time * 0.99 && pauses[i]! <= time * 1.11, `pause ${i + 1} is ${pauses[i]! / minutes} min, nominal ${time / minutes}`)
  }
}

test('five days with the default schedule, on a server that skips time: 5 min doubling to 4 h, a delay report at 4 h, then expired and reported', async () => {
  const { reports, attempts, lasted, pauses, historyLength } = await deferForFiveDays('451 4.7.1 not now', { retry: {} }, 2)
  assert.equal(reports.filter((report) => /Action: failed\nStatus: 4\.4\.7\n/.test(report)).length, 1)
  const delayed = reports.find((report) => /Action: delayed\nStatus: 4\.7\.1\n/.test(report))
  const header = (name: string) => Date.parse(new RegExp(`^${name}: (.*)$`, 'm').exec(delayed!)![1]!)
  const after = (header('Date') - header('Arrival-Date')) / hours
  assert.ok(after >= 4 && after < 4.1, `the delay report is made after ${after} h`)

  // The lifetime counts from the acceptance, a little before the start.
  assert.ok(lasted / days > 4.999 && lasted / days < 5.02, `${lasted / days} days`)
  // The delay report cuts the wait during which it is made in two.
  const cut = 5
  assertPauses([...pauses.slice(0, cut), pauses[cut]! + pauses[cut + 1]!, ...pauses.slice(cut + 2)], [5, 10, 20, 40, 80, 160, 240, 240].map((each) => each * minutes))
  assert.ok(attempts.length >= 32 && attempts.length <= 37, `${attempts.length} attempts`)
  assert.ok(historyLength < 600, `${historyLength} events`)
})

test("five days by a rule: a full mailbox has the operator's own schedule, whatever the backoff of other causes", async () => {
  const rule = { match: { enhanced: '4.2.2' }, then: { schedule: ['30m', '2h', '6h', '1d'] } }
  const { reports, pauses } = await deferForFiveDays('452 4.2.2 mailbox full', { retry: { rules: [rule] }, reports: { delayAfter: '0s' } }, 1)
  assert.match(reports[0]!, /Action: failed\nStatus: 4\.4\.7\n[\s\S]*452 4\.2\.2 mailbox full/)
  assertPauses(pauses, [0.5, 2, 6, 24, 24, 24].map((each) => each * hours))
})

test('a day by a rule: a destination that is given up sooner, which the delay report says, with a last attempt at the end', async () => {
  const rule = { name: 'a day', match: { domain: 'partner.test', code: '451' }, then: { giveUpAfter: '1d' } }
  const { reports, attempts, lasted } = await deferForFiveDays('451 4.7.1 not now', { retry: { rules: [rule] } }, 2)
  const [delayed, failed] = ['delayed', 'failed'].map((action) => reports.find((report) => report.includes(`Action: ${action}\n`))!)
  const header = (name: string) => Date.parse(new RegExp(`^${name}: (.*)$`, 'm').exec(delayed!)![1]!)
  const told = (header('Will-Retry-Until') - header('Arrival-Date')) / days
  assert.ok(told > 0.999 && told < 1.01, `the delay report says ${told} days`)
  assert.match(failed!, /Action: failed\nStatus: 4\.4\.7\n[\s\S]*451 4\.7\.1 not now/)
  assert.ok(lasted / days > 0.999 && lasted / days < 1.02, `${lasted / days} days`)
  assert.ok(attempts.length >= 10 && attempts.length <= 14, `${attempts.length} attempts`)
})
