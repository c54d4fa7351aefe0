import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, Connection, WithStartWorkflowOperation } from '@temporalio/client'
import { Worker } from '@temporalio/worker'
import { startPeer } from '../smtp/testing.ts'
import { controlUpdates, messageWorkflowType } from '../workflows/interface.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

const codePath = fileURLToPath(new URL('../worker/workflow-bundle.js', import.meta.url))

test('workflows that were steered replay: started by the update itself, or steered while they ran, by several at once, by commands and by updates', async () => {
  const script = { rcpt: { '*': '451 4.7.1 not now' } as Record<string, string> }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '1s' }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  const connection = await Connection.connect({ address: everpost.temporal })
  const { workflow } = new Client({ connection })
  try {
    const ingress = await everpost.start('ingress')
    const begun = await everpost.send(['a@partner.test', 'b@partner.test'])
    // Before its workflow could start: the update comes with the first workflow task.
    await everpost.stop(ingress)
    await everpost.sql`update messages set drive_at = now() + interval '1 hour' where id = ${begun}`
    await everpost.start()
    const by = { who: 'me', why: '' }
    await workflow.executeUpdateWithStart(controlUpdates.hold, {
      args: [by],
      startWorkflowOperation: new WithStartWorkflowOperation(messageWorkflowType, { workflowId: begun, taskQueue: everpost.folder, args: [{ id: begun }], workflowIdConflictPolicy: 'USE_EXISTING' }),
    })
    const running = await everpost.send(['c@partner.test', 'd@partner.test', 'carol@example.test'])
    await everpost.states(running, (states) => states[2] === 'delivered')
    const handle = workflow.getHandle(running)
    const answers = await Promise.allSettled([
      handle.executeUpdate(controlUpdates['set-lifetime'], { args: [{ ...by, lifetime: 9 * 86_400_000 }] }), handle.executeUpdate(controlUpdates.retry, { args: [by] }),
      handle.executeUpdate(controlUpdates.drop, { args: [{ ...by, recipients: [0] }] }), everpost.command('hold', running),
    ])
    assert.ok(answers.filter(({ status }) => status === 'fulfilled').length >= 3, answers.map((answer) => (answer.status === 'rejected' ? String(answer.reason.cause) : '')).join())
    script.rcpt = {}
    for (const id of [begun, running]) {
      const { code, stdout, stderr } = await everpost.command('release', id)
      assert.equal(code, 0, `${id === begun ? 'begun' : 'running'}: ${stdout}${stderr}`)
      await everpost.states(id)
      await until('its workflow has ended', async () => (await workflow.getHandle(id).describe()).status.name === 'COMPLETED')
      const history = await workflow.getHandle(id).fetchHistory()
      assert.ok(history.events!.some((event) => event.workflowExecutionUpdateCompletedEventAttributes))
      await Worker.runReplayHistory({ workflowBundle: { codePath } }, history, id)
    }
    assert.deepEqual(await everpost.states(running), ['bounced', 'delivered', 'delivered'])
  } finally {
    await connection.close()
    await everpost.end()
    await peer.close()
  }
})
