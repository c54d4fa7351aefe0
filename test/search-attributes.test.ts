import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { Client, Connection } from '@temporalio/client'
import { findTemporal } from '../dev/temporal.ts'
import { startPeer } from '../smtp/testing.ts'
import { readActions } from '../store/actions.ts'
import { prepareEverpost } from './support/everpost.ts'
import { testTemporal } from './support/temporal.ts'
import { until } from './support/until.ts'

test("Temporal's own list finds what waits, its details say in words what for, its CLI asks and steers it; what is delivered at once costs nothing more", async () => {
  const temporal = await testTemporal()
  await temporal.start()
  const script = { rcpt: { '*': '451 4.7.1 not now' } as Record<string, string> }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '1h' }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] }, temporal.address)
  const connection = await Connection.connect({ address: temporal.address })
  const { workflow, workflowService } = new Client({ connection })
  const found = async (query: string) => {
    const ids: string[] = []
    for await (const { workflowId } of workflow.list({ query })) ids.push(workflowId)
    return ids
  }
  try {
    await everpost.start()
    const waiting = await everpost.send('x@partner.test', 'bob@sender.test')
    const destination = `[127.0.0.1]:${peer.port}`
    const query = `EverpostStatus = 'deferred' and EverpostSenderDomain = 'sender.test' and EverpostDestination = '${destination}'`
    await until('it is found', async () => (await found(query)).join() === waiting)
    const { currentDetails } = await workflow.getHandle(waiting).query<{ currentDetails: string }>('__temporal_workflow_metadata')
    assert.match(currentDetails, /^Waits for: the next attempt at .*Z\.\n\nLast: host .* said: 451 4\.7\.1 not now .*\n\nFrom <bob@sender\.test>, 1 of 1 recipients not settled\.$/)

    // Temporal's own CLI, as the README has it.
    const { path } = await findTemporal(() => {})
    const cli = (...args: string[]) => promisify(execFile)(path, ['workflow', ...args, '--workflow-id', waiting, '--address', temporal.address, '--output', 'json'])
    const { queryResult: [status] } = JSON.parse((await cli('query', '--type', 'status')).stdout)
    assert.deepEqual([status.id, status.recipients[0].forwardPath, status.next.what], [waiting, 'x@partner.test', 'the next attempt'])
    assert.match(status.recipients[0].text, /451 4\.7\.1 not now/)
    await assert.rejects(cli('update', 'execute', '--name', 'release', '--input', '{"who": "me", "why": ""}'), /it is not on hold/)
    await cli('update', 'execute', '--name', 'hold', '--input', '{"who": "me", "why": "look at it"}')
    assert.deepEqual((await readActions(everpost.sql, waiting)).map(({ action, who, why }) => [action, who, why]), [['hold', 'me', 'look at it']])
    await until('it is found as held', async () => (await found(`EverpostStatus = 'held'`)).join() === waiting)
    script.rcpt = {}
    await everpost.command('release', waiting)
    await everpost.states(waiting)
    await until('it is found as delivered', async () => (await found(`EverpostStatus = 'delivered'`)).join() === waiting)

    assert.equal((await everpost.command('destination', 'suspend', destination, '--for', '1h', '--why', 'their move')).code, 0)
    const kept = await everpost.send('y@partner.test', 'bob@sender.test')
    await until('what waits for a suspension is found', async () => (await found(query)).join() === kept)
    const { currentDetails: why } = await workflow.getHandle(kept).query<{ currentDetails: string }>('__temporal_workflow_metadata')
    assert.match(why, /^Waits for: the next attempt, since \[127\.0\.0\.1\]:\d+ is suspended until \S+Z by \S+: their move at .*Z\.\n/)
    assert.match((await everpost.command('queue')).stdout, /y@partner\.test .* is suspended until/)

    const quick = await everpost.send('carol@example.test')
    await everpost.states(quick)
    await until('its workflow has ended', async () => (await workflow.getHandle(quick).describe()).status.name === 'COMPLETED')
    const { workflowExecutionInfo: info } = await workflowService.describeWorkflowExecution({ namespace: 'default', execution: { workflowId: quick } })
    assert.ok(Number(info!.historyLength) <= 10 && Number(info!.stateTransitionCount) <= 2, `${info!.historyLength} events, ${info!.stateTransitionCount} transitions`)
    assert.deepEqual(Object.keys(info!.searchAttributes?.indexedFields ?? {}).filter((name) => name.startsWith('Everpost')), [])
  } finally {
    await connection.close()
    await everpost.end()
    await peer.close()
    await temporal.end()
  }
})
