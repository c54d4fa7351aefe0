import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import protocol from '@temporalio/proto'
import { bundleWorkflowCode, DefaultLogger, Runtime, Worker } from '@temporalio/worker'

Runtime.install({ logger: new DefaultLogger('ERROR', () => {}) })

const folder = fileURLToPath(new URL('../../../test/replay/histories/', import.meta.url))
const bundle = fileURLToPath(new URL('../../worker/workflow-bundle.js', import.meta.url))
const workflows = fileURLToPath(new URL('../../workflows/index.js', import.meta.url))
const names = readdirSync(folder).filter((name) => name.endsWith('.json')).sort()
const history = (name: string) => protocol.temporal.api.history.v1.History.fromObject(plain(JSON.parse(readFileSync(folder + name, 'utf8'))) as object)

/** Times and durations as protobuf's JSON form writes them, as its messages hold them. (The SDK's own reader fails beside protobufjs 7.) */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
  if (typeof value !== 'string') return value
  if (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value)) {
    const nanos = Number((/\.(\d+)Z/.exec(value)?.[1] ?? '').padEnd(9, '0'))
    return { seconds: Math.floor(Date.parse(value) / 1000), nanos }
  }
  const [, whole, part = ''] = /^(\d+)(?:\.(\d+))?s$/.exec(value) ?? []
  return whole === undefined ? value : { seconds: Number(whole), nanos: Number(part.padEnd(9, '0')) }
}

test('there is a history of each course that a message can take', () => {
  const courses = [
    'bounced', 'dead-letter', 'deferred-then-delivered', 'delayed-then-expired', 'delivered-at-once', 'delivered-locally',
    'reply-to-the-dot-lost', 'several-next-hops', 'suspended-then-resumed', 'scheduled', 'continued-as-new', 'continued-from-before',
  ]
  assert.deepEqual(courses.filter((course) => !names.some((name) => name.startsWith(course))), [])
})

test('the histories of a message that went on in a fresh run are the run that ended so, and one that began with what it was given', () => {
  const of = (course: string) => names.filter((name) => name.startsWith(course)).map((name) => history(name).events)
  for (const events of of('continued-as-new')) assert.ok(events.at(-1)!.workflowExecutionContinuedAsNewEventAttributes)
  for (const [started] of of('continued-from-before')) {
    const { continuedExecutionRunId, input } = started!.workflowExecutionStartedEventAttributes!
    assert.ok(continuedExecutionRunId)
    assert.ok(JSON.parse(Buffer.from(input!.payloads![0]!.data!).toString()).attempts.length > 0)
  }
})

test('the history of a message to be sent later waits before its first attempt', () => {
  for (const name of names.filter((name) => name.startsWith('scheduled'))) {
    const { events } = history(name)
    const timer = events.findIndex((event) => event.timerStartedEventAttributes)
    const attempt = events.findIndex((event) => event.activityTaskScheduledEventAttributes)
    assert.ok(timer > 0 && timer < attempt, `${timer}, ${attempt}`)
  }
})

for (const name of names) {
  test(`the workflow of today replays ${name}: if not, the change needs \`patched\`, or mail in flight would stop`, async () => {
    await Worker.runReplayHistory({ workflowBundle: { codePath: bundle } }, history(name), name)
  })
}

test('a change of the workflow without `patched` is found', async () => {
  const quiet = { trace() {}, debug() {}, info() {}, log() {}, warn() {}, error() {} }
  const { code } = await bundleWorkflowCode({ workflowsPath: workflows, logger: quiet })
  // A pause before the first pass: one timer more than the histories have.
  const changed = code.replace(/const begun = await /, 'await (0, _temporalio_workflow__WEBPACK_IMPORTED_MODULE_0__.sleep)(1)\n    const begun = await ')
  assert.notEqual(changed, code)
  await assert.rejects(Worker.runReplayHistory({ workflowBundle: { code: changed } }, history('delivered-at-once.json')), /[Nn]ondetermin/)
})
