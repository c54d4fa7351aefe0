import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { findTimeSkippingServer } from '../dev/temporal.ts'
import { startPeer } from '../smtp/testing.ts'
import { readAttempts } from '../store/attempts.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const minutes = 60_000

test('five days with the default schedule, on a server that skips time: 5 min doubling to 4 h, a delay report at 4 h, then expired and reported', async () => {
  const path = await findTimeSkippingServer(console.log)
  const environment = await TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } })
  const peer = await startPeer({ rcpt: { '*': '451 4.7.1 not now' } })
  const everpost = await prepareEverpost({
    retry: {}, worker: {}, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
  }, environment.address)
  try {
    await everpost.start()
    const id = await everpost.send('x@partner.test', 'bob@example.test')
    await until('the first attempt', async () => (await readAttempts(everpost.sql, id, 1))[0]?.endedAt)
    await environment.connection.testService!.unlockTimeSkipping({})
    assert.deepEqual(await everpost.states(id), ['expired'])
    await until('both reports arrive', () => everpost.maildir('bob').length === 2)
    const reports = everpost.maildir('bob')
    assert.equal(reports.filter((report) => /Action: failed\nStatus: 4\.4\.7\n/.test(report)).length, 1)
    const delayed = reports.find((report) => /Action: delayed\nStatus: 4\.7\.1\n/.test(report))
    const header = (name: string) => Date.parse(new RegExp(`^${name}: (.*)$`, 'm').exec(delayed!)![1]!)
    const hours = (header('Date') - header('Arrival-Date')) / (60 * minutes)
    assert.ok(hours >= 4 && hours < 4.1, `the delay report is made after ${hours} h`)

    const handle = environment.client.workflow.getHandle(id)
    await until('the workflow ends', async () => (await handle.describe()).status.name === 'COMPLETED')
    const { startTime, closeTime, historyLength } = await handle.describe()
    const days = (closeTime!.getTime() - startTime.getTime()) / (24 * 60 * minutes)
    // The lifetime counts from the acceptance, a little before the start.
    assert.ok(days > 4.999 && days < 5.02, `${days} days`)
    const { events } = await handle.fetchHistory()
    const timers = events!.flatMap(({ timerStartedEventAttributes }) => {
      const wait = timerStartedEventAttributes?.startToFireTimeout
      return wait ? [(Number(wait.seconds) * 1000 + (wait.nanos ?? 0) / 1e6) / minutes] : []
    })
    // The delay report cuts the wait during which it is made in two.
    const cut = 5
    timers.splice(cut, 2, timers[cut]! + timers[cut + 1]!)
    // Between 5 min and 4 h and a tenth; the last is cut short by the end of the lifetime.
    for (const [i, nominal] of [5, 10, 20, 40, 80, 160, 240, 240].entries()) {
      assert.ok(timers[i]! >= nominal * 0.99 && timers[i]! <= nominal * 1.11, `pause ${i + 1} is ${timers[i]} min, nominal ${nominal}`)
    }
    const attempts = await readAttempts(everpost.sql, id, 100)
    assert.ok(attempts.length >= 32 && attempts.length <= 37, `${attempts.length} attempts`)
    assert.ok(historyLength < 600, `${historyLength} events`)
  } finally {
    await everpost.end()
    await peer.close()
    await environment.teardown()
  }
})

test("five days by a rule: a full mailbox has the operator's own schedule, whatever the backoff of other causes", async () => {
  const path = await findTimeSkippingServer(console.log)
  const environment = await TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } })
  const peer = await startPeer({ rcpt: { '*': '452 4.2.2 mailbox full' } })
  const everpost = await prepareEverpost({
    retry: { rules: [{ match: { enhanced: '4.2.2' }, then: { schedule: ['30m', '2h', '6h', '1d'] } }] },
    reports: { delayAfter: '0s' }, worker: {}, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }],
  }, environment.address)
  try {
    await everpost.start()
    const id = await everpost.send('x@partner.test', 'bob@example.test')
    await until('the first attempt', async () => (await readAttempts(everpost.sql, id, 1))[0]?.endedAt)
    await environment.connection.testService!.unlockTimeSkipping({})
    assert.deepEqual(await everpost.states(id), ['expired'])
    const report = await until('the report arrives', () => everpost.maildir('bob')[0])
    assert.match(report, /Action: failed\nStatus: 4\.4\.7\n[\s\S]*452 4\.2\.2 mailbox full/)
    const handle = environment.client.workflow.getHandle(id)
    await until('the workflow ends', async () => (await handle.describe()).status.name === 'COMPLETED')
    const { events } = await handle.fetchHistory()
    const hours = events!.flatMap(({ timerStartedEventAttributes: timer }) => (timer?.startToFireTimeout ? [Number(timer.startToFireTimeout.seconds) / 3600] : []))
    for (const [i, nominal] of [0.5, 2, 6, 24, 24, 24].entries()) {
      assert.ok(hours[i]! >= nominal * 0.99 && hours[i]! <= nominal * 1.11, `pause ${i + 1} is ${hours[i]} h, nominal ${nominal}`)
    }
  } finally {
    await everpost.end()
    await peer.close()
    await environment.teardown()
  }
})
