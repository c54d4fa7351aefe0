import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from '@temporalio/worker'
import type { DsnArgument, FirstPass, Group, MessageActivities } from '../activities/types.ts'
import type { Progress } from '../mail/progress.ts'
import { connectTemporal } from './support/temporal-client.ts'
import { until } from './support/until.ts'
import { messageWorkflowType, wakeSignal } from '../workflows/interface.ts'

const { client, native } = await connectTemporal()

/** What the tables of a message would say. The attempts that were moved on hang until they are let go. */
interface Message {
  progress: Progress
  reports: (Pick<DsnArgument, 'expire' | 'delayed'> & { underWay: number; looks: number })[]
  underWay: number
  looks: number
  letGo(): void
  activities: Partial<MessageActivities>
}

const far = Date.now() + 86_400_000
const hop: Group = { nextHop: 'slow.test', destination: 'slow.test', recipients: [1], agent: 'smtp', hosts: [], port: 25, returnPath: false }

/** `ends`: milliseconds from the first pass to the delay report and to the end of the queue lifetime. */
function createMessage(first: Partial<Progress>, ends?: { delay: number; lifetime: number }): Message {
  let letGo = () => {}
  const open = new Promise<void>((resolve) => { letGo = resolve })
  const message: Message = {
    progress: { queued: 1, unreported: 0, nextAt: null, leasedUntil: null, expiresAt: far, heldAt: null, ...first },
    reports: [],
    underWay: 0,
    looks: 0,
    letGo,
    activities: {
      async firstPass() {
        if (ends) message.progress.expiresAt = Date.now() + ends.lifetime
        const delayAt = ends ? Date.now() + ends.delay : null
        const stamped = { acceptedAt: Date.now(), expiresAt: message.progress.expiresAt, delayAt, reversePath: 'a@x.test', recipients: [], recipientCount: 2 }
        return { stamped, progress: { ...message.progress }, attempts: [], moved: [hop], more: false } satisfies FirstPass
      },
      async attemptTransfer() {
        message.underWay++
        await open
        message.underWay--
        message.progress.queued--
        return { progress: { ...message.progress }, attempt: null }
      },
      async resolveNextHop() {
        message.looks++
        return { groups: [], more: false, progress: { ...message.progress }, attempts: [] }
      },
      async sendDsn({ expire, delayed }) {
        message.reports.push({ expire, delayed, underWay: message.underWay, looks: message.looks })
        message.progress.unreported = 0
        // All but those of the attempt under way.
        if (expire) Object.assign(message.progress, { queued: message.underWay, nextAt: null })
        return { progress: { ...message.progress }, failed: [] }
      },
    },
  }
  return message
}

/** Runs the workflow as it is built, but for these constants. */
async function run(message: Message, constants: Record<string, number>, meanwhile: (wake: () => Promise<void>) => Promise<void>): Promise<void> {
  let code = readFileSync(fileURLToPath(new URL('../worker/workflow-bundle.js', import.meta.url)), 'utf8')
  for (const [name, value] of Object.entries(constants)) {
    const changed = code.replace(new RegExp(`const ${name} = [\\d_]+`), `const ${name} = ${value}`)
    assert.notEqual(changed, code)
    code = changed
  }
  const taskQueue = randomUUID()
  const worker = await Worker.create({ connection: native, taskQueue, workflowBundle: { code }, activities: message.activities })
  const workflow = client.workflow
  const [ended, id] = [worker.run(), randomUUID()]
  try {
    await workflow.start(messageWorkflowType, { workflowId: id, taskQueue, args: [{ id }] })
    await meanwhile(() => workflow.getHandle(id).signal(wakeSignal))
    message.letGo()
    await until('it ends', async () => (await workflow.getHandle(id).describe()).status.name === 'COMPLETED')
    await Worker.runReplayHistory({ workflowBundle: { code } }, await workflow.getHandle(id).fetchHistory(), id)
  } finally {
    message.letGo()
    worker.shutdown()
    await ended
  }
}

test('whoever has failed is reported after a while, though an attempt for others is under way all the time', async () => {
  const message = createMessage({ unreported: 1 })
  await run(message, { patience: 2000 }, async () => {
    await until('the report is sent', () => message.reports.length > 0)
  })
  assert.deepEqual(message.reports.map(({ underWay }) => underWay), [1])
})

test('who waits for a turn that does not come expires a while after the end of the queue lifetime, and is told of the delay before', async () => {
  const message = createMessage({ queued: 2, nextAt: far }, { delay: 500, lifetime: 3000 })
  await run(message, { patience: 2000 }, async () => {
    await until('the delay is told', () => message.reports.length === 1)
    await until('they expire', () => message.reports.length === 2)
  })
  assert.deepEqual(message.reports.map(({ expire, delayed, underWay }) => ({ expire, delayed, underWay })), [
    { expire: false, delayed: true, underWay: 1 }, { expire: true, delayed: false, underWay: 1 },
  ])
})

test('a report that waited for the attempts under way is sent before a long history is cut, though more is due', async () => {
  const message = createMessage({ unreported: 1 })
  const { stamped } = (await message.activities.firstPass!({ id: '', clock: 0 }))!
  Object.assign(message.activities, { stampHeaders: async () => stamped })
  let looks = 0
  await run(message, { longHistory: 12 }, async (wake) => {
    await until('the attempt is under way', () => message.underWay === 1)
    for (const _ of Array(6)) {
      await wake()
      await sleep(100)
    }
    looks = message.looks
    message.letGo()
    await until('the report is sent', () => message.reports.length > 0)
  })
  assert.deepEqual(message.reports.map((report) => [report.underWay, report.looks]), [[0, looks]])
})
