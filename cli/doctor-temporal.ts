// The doctor's look at Temporal: do workers poll, do the workflows of queued messages run, do they fail their tasks, what is its clock, and
// does it know of messages that Postgres does not.

import { randomBytes } from 'node:crypto'
import { Client, type Connection, WorkflowNotFoundError } from '@temporalio/client'
import type { Settings } from '../settings/schema.ts'
import type { Examination } from './doctor.ts'
import { clockTolerance } from './doctor-database.ts'
import { span } from '../console/format.ts'
import type { Sql } from '../store/database.ts'
import { unknownAmong } from '../store/doctor.ts'
import { messageWorkflowType } from '../workflows/interface.ts'

type Condition = 'runs' | 'is not there' | 'fails its task'

/** Workflows that are compared with the messages in Postgres, newest first. */
const listed = 10_000
/** What gRPC calls NOT_FOUND. */
const notFound = 5
/** Milliseconds after which a worker that polls has polled again: a long poll lasts a minute. */
const pollsWithin = 90_000
/** Attempts at a workflow task after which it fails by itself, not by a worker that went away. */
const failingAttempts = 3

/** `sql`: null when it does not answer. */
export async function checkTemporal(
  connection: Connection, settings: Settings, sql: Sql | null, started: { id: string; overdue: boolean }[], examination: Examination,
): Promise<void> {
  if (!(await hasNamespace(connection, settings, examination))) return
  const client = new Client({ connection, namespace: settings.temporal.namespace })
  const apart = await checkClock(client, examination)
  await checkPollers(connection, settings, apart, examination)
  await checkWorkflows(client, started, examination)
  if (sql) await checkUnknown(client, settings, sql, examination)
}

/** In a Temporal that was made anew it is missing: workers wait for it, and mail with them. */
async function hasNamespace(connection: Connection, { temporal: { address, namespace } }: Settings, { findings }: Examination): Promise<boolean> {
  try {
    await connection.workflowService.describeNamespace({ namespace })
    return true
  } catch (error) {
    if ((error as { code?: number }).code !== notFound) throw error
    findings.push({
      check: 'temporal', what: `Temporal has no namespace ${namespace}: workers wait for it, and no mail goes out`,
      todo: `Run: temporal operator namespace create --address ${address} --namespace ${namespace}; or correct temporal.namespace.`,
    })
    return false
  }
}

/** `apart`: milliseconds that the clock of Temporal is ahead of ours. Temporal remembers pollers for minutes after they are gone. */
async function checkPollers(connection: Connection, { temporal: { namespace, taskQueue } }: Settings, apart: number, { findings, notes }: Examination): Promise<void> {
  const { pollers } = await connection.workflowService.describeTaskQueue({ namespace, taskQueue: { name: taskQueue }, taskQueueType: 1 })
  const now = Date.now() + apart
  const seen = (pollers ?? []).map(({ identity, lastAccessTime }) => ({ identity, ago: now - Number(lastAccessTime?.seconds ?? 0) * 1000 }))
  const count = new Set(seen.filter(({ ago }) => ago < pollsWithin).map(({ identity }) => identity)).size
  const last = seen.length > 0 ? `; the last one did ${span(Math.min(...seen.map(({ ago }) => ago)))} ago` : ''
  if (count > 0) notes.push(`${count} worker${count === 1 ? ' polls' : 's poll'} the task queue ${taskQueue}.`)
  else findings.push({ check: 'worker', what: `no worker polls the task queue ${taskQueue}${last}`, todo: 'Start everpost worker or serve, with the same temporal.namespace and taskQueue.' })
}

/**
 * Temporal tells its time only as the start of a workflow: one of ours is started where nobody polls, and deleted before it has a task, so that nothing of it is left.
 * Returns how many milliseconds it is ahead.
 */
async function checkClock(client: Client, { findings, notes }: Examination): Promise<number> {
  const workflowId = `everpost-doctor-${randomBytes(6).toString('hex')}`
  const before = Date.now()
  const handle = await client.workflow.start('doctorClock', { workflowId, taskQueue: 'everpost-doctor', workflowExecutionTimeout: '1 minute', startDelay: '1 minute' })
  const middle = (before + Date.now()) / 2
  const { startTime } = await handle.describe()
  const { namespace } = client.options
  await client.workflowService.deleteWorkflowExecution({ namespace, workflowExecution: { workflowId } }).catch(() => handle.terminate('it has told the time').catch(() => {}))
  const apart = startTime.getTime() - middle
  if (Math.abs(apart) <= clockTolerance) notes.push(`The clock of Temporal is within ${Math.max(1, Math.round(Math.abs(apart)))} ms of this machine's.`)
  else {
    findings.push({
      check: 'clock', what: `the clock of Temporal is ${span(Math.abs(apart))} ${apart > 0 ? 'ahead of' : 'behind'} this machine's`,
      todo: "Run a time service (chrony, systemd-timesyncd) on both: retries wait on Temporal's timers.",
    })
  }
  return apart
}

async function checkWorkflows(client: Client, started: { id: string; overdue: boolean }[], { findings, notes }: Examination): Promise<void> {
  const conditions = new Map<string, Condition>()
  for (let i = 0; i < started.length; i += 20) {
    await Promise.all(started.slice(i, i + 20).map(async ({ id }) => conditions.set(id, await conditionOf(client, id))))
  }
  const those = (condition: Condition) => started.filter(({ id }) => conditions.get(id) === condition).map(({ id }) => id)
  const [missing, failing] = [those('is not there'), those('fails its task')]
  if (missing.length > 0) {
    findings.push({
      check: 'workflow', ids: missing, what: `${missing.length} queued message${missing.length === 1 ? ' has' : 's have'} no open workflow`,
      todo: 'The outbox of any running Everpost starts them again within minutes of their next attempt. If none runs, start one.',
    })
  }
  if (failing.length > 0) {
    findings.push({
      check: 'task', ids: failing,
      what: `${failing.length} workflow${failing.length === 1 ? ' fails its task' : 's fail their tasks'} again and again: most often the code has changed under mail in flight`,
      todo: "Run the version that these messages were started with beside the new one, or go back to it; Temporal's UI shows the failure. Nothing is lost: the mail waits.",
    })
  }
  const late = started.filter(({ id, overdue }) => overdue && conditions.get(id) === 'runs').map(({ id }) => id)
  if (late.length > 0) {
    findings.push({
      check: 'workflow', ids: late, what: `${late.length} message${late.length === 1 ? ' is' : 's are'} overdue, though the workflow runs`,
      todo: 'Workers may be too few or too busy: start more, and look at their logs.',
    })
  }
  notes.push(`${started.length} workflow${started.length === 1 ? '' : 's'} of queued messages looked at.`)
}

/** After a restore of a state that is older than they are: who was answered 250 is told nothing, unless somebody looks for these. */
async function checkUnknown(client: Client, { temporal }: Settings, sql: Sql, { findings, notes }: Examination): Promise<void> {
  const query = `WorkflowType = '${messageWorkflowType}' AND TaskQueue = ${JSON.stringify(temporal.taskQueue)} AND ExecutionStatus IN ('Running', 'Failed')`
  const ids: string[] = []
  for await (const { workflowId } of client.workflow.list({ query })) if (ids.push(workflowId) === listed) break
  if (ids.length === listed) notes.push(`Of the workflows that run or have failed, the newest ${listed} were compared with the messages in Postgres.`)
  const unknown = await unknownAmong(sql, [...new Set(ids)])
  if (unknown.length > 0) {
    findings.push({
      check: 'lost', ids: unknown,
      what: `${unknown.length} workflow${unknown.length === 1 ? ' is' : 's are'} of messages that the database does not know: it was taken back to a state from before them`,
      todo: 'This mail was answered 250, and is lost unless the state after it comes back. docs/operating.md (Backup, and back from it) says how to find out whose it was.',
    })
  }
}

async function conditionOf(client: Client, id: string): Promise<Condition> {
  try {
    const { status, raw } = await client.workflow.getHandle(id).describe()
    if (status.name !== 'RUNNING') return 'is not there'
    return (raw.pendingWorkflowTask?.attempt ?? 0) >= failingAttempts ? 'fails its task' : 'runs'
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'is not there'
    throw error
  }
}
