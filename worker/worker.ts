// The Temporal worker of a process: polls, runs workflows from the prebuilt bundle, and stops without losing an attempt.

import { setMaxListeners } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type NativeConnection, Worker } from '@temporalio/worker'
import { globalHandlers } from '@temporalio/worker/lib/workflow/vm-shared.js'
import { createActivities, type ActivityDeps } from '../activities/index.ts'
import type { AttemptSummary, MessageActivities } from '../activities/types.ts'

export interface RunningWorker {
  /** Settles when the worker ends; rejects when it fails by itself. */
  ended: Promise<void>
  /** Breaks off attempts before their final dot, waits for those after it up to `grace` milliseconds, and ends. */
  stop(): Promise<void>
}

export interface WorkerDeps extends Omit<ActivityDeps, 'stopping'> {
  connection: NativeConnection
  /** Told of the attempts that have ended. */
  attempted: (attempts: AttemptSummary[]) => void
  /** Milliseconds for attempts that have sent their final dot to get the reply. */
  grace: number
}

/**
 * The SDK runs workflows in a thread of their own, each call under a time limit, and takes a stack at every promise that they make. For
 * strangers' code that is right. Ours is short and computes nothing, so it runs here: to hand every activation to a thread and back, and
 * the watchdog thread that Node starts for each time limit, cost more than the workflow does (docs/performance.md). The stacks served
 * the stack trace query alone; what a message waits for, its status query and its details in Temporal's UI say in words.
 */
class PlainWorker extends Worker {
  protected static override createWorkflowCreator(...[code, options, logger]: Parameters<typeof Worker.createWorkflowCreator>) {
    globalHandlers.installed = true
    return Worker.createWorkflowCreator(code, { ...options, debugMode: true, isolateExecutionTimeoutMs: undefined as never }, logger)
  }
}

const bundle = fileURLToPath(new URL('workflow-bundle.js', import.meta.url))

/** Starts polling. Throws when the bundle is missing: a worker never makes its own. */
export async function startWorker(deps: WorkerDeps): Promise<RunningWorker> {
  if (!existsSync(bundle)) throw new Error(`The workflow bundle ${bundle} is missing. Run: npm run build`)
  const { settings } = deps
  const stopping = new AbortController()
  // Every attempt under way listens to it.
  setMaxListeners(0, stopping.signal)
  const worker = await PlainWorker.create({
    connection: deps.connection,
    namespace: settings.temporal.namespace,
    taskQueue: settings.temporal.taskQueue,
    workflowBundle: { codePath: bundle },
    activities: noting(createActivities({ ...deps, stopping: stopping.signal }), deps.attempted),
    // Heartbeats go out as they come, each ten seconds; by default the SDK keeps them for four fifths of their time-out, and a Temporal away for a moment ended attempts.
    maxHeartbeatThrottleInterval: '10s',
    maxConcurrentWorkflowTaskExecutions: settings.worker.workflowTasks,
    maxConcurrentLocalActivityExecutions: settings.worker.activities,
    maxConcurrentActivityTaskExecutions: settings.worker.activities,
    shutdownGraceTime: deps.grace,
    shutdownForceTime: deps.grace + 2000,
  })
  const ended = worker.run()
  ended.catch(() => {})
  return {
    ended,
    async stop() {
      stopping.abort()
      if (worker.getState() === 'RUNNING') worker.shutdown()
      // When forced, what was still under way is taken over by another worker once its lease ends.
      await ended.catch((error) => deps.log.warn({ error: String(error) }, 'the worker did not end in time'))
    },
  }
}

/** The same activities; `attempted` hears of the attempts that their results hold. */
function noting(activities: MessageActivities, attempted: WorkerDeps['attempted']): MessageActivities {
  const note = (activity: (argument: never) => Promise<unknown>) => async (argument: never) => {
    const result = await activity(argument)
    const { attempt, attempts = [] } = (result ?? {}) as { attempt?: AttemptSummary | null; attempts?: AttemptSummary[] }
    attempted(attempt ? [attempt] : attempts)
    return result
  }
  return Object.fromEntries(Object.entries(activities).map(([name, activity]) => [name, note(activity)])) as unknown as MessageActivities
}
