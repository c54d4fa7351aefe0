// The Temporal worker of a process: polls, runs workflows from the prebuilt bundle, and stops without losing an attempt.

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type NativeConnection, Worker } from '@temporalio/worker'
import { createFastLane } from '../activities/fast-lane.ts'
import { createActivities, type ActivityDeps } from '../activities/index.ts'
import type { AttemptSummary, MessageActivities } from '../activities/types.ts'

export interface RunningWorker {
  /** Settles when the worker ends; rejects when it fails by itself. */
  ended: Promise<void>
  /** Breaks off attempts before their final dot, waits for those after it up to `grace` milliseconds, and ends. */
  stop(): Promise<void>
}

export interface WorkerDeps extends Omit<ActivityDeps, 'stopping' | 'fastLane'> {
  connection: NativeConnection
  /** Told of the attempts that have ended. */
  attempted: (attempts: AttemptSummary[]) => void
  /** Milliseconds for attempts that have sent their final dot to get the reply. */
  grace: number
}

/**
 * The SDK runs each call into a workflow under a time limit, for which Node starts a watchdog thread every time: 46 % of the workflow
 * thread's CPU, 18 % of the process's (docs/performance.md). Our workflows are our own, and none of them computes; so there is no limit.
 */
class PlainWorker extends Worker {
  protected static override createWorkflowCreator(...[code, options, logger]: Parameters<typeof Worker.createWorkflowCreator>) {
    return Worker.createWorkflowCreator(code, { ...options, isolateExecutionTimeoutMs: undefined as never }, logger)
  }
}

const bundle = fileURLToPath(new URL('workflow-bundle.js', import.meta.url))

/** Starts polling. Throws when the bundle is missing: a worker never makes its own. */
export async function startWorker(deps: WorkerDeps): Promise<RunningWorker> {
  if (!existsSync(bundle)) throw new Error(`The workflow bundle ${bundle} is missing. Run: npm run build`)
  const { settings } = deps
  const stopping = new AbortController()
  const worker = await PlainWorker.create({
    connection: deps.connection,
    namespace: settings.temporal.namespace,
    taskQueue: settings.temporal.taskQueue,
    workflowBundle: { codePath: bundle },
    activities: noting(createActivities({ ...deps, stopping: stopping.signal, fastLane: createFastLane(settings.worker.activities) }), deps.attempted),
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
