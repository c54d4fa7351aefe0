// Keeps a worker running: connects to Temporal when it can be reached, and starts anew when the worker fails.

import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@temporalio/client'
import { NativeConnection } from '@temporalio/worker'
import { searchAttributes } from '../mail/search.ts'
import { connectionOptions, watchConnection } from './connection.ts'
import { type StartMessage, workflowStarter } from './starter.ts'
import { whyUnreachable } from './unreachable.ts'
import { type RunningWorker, startWorker, type WorkerDeps } from './worker.ts'

export interface KeptWorker {
  /** Before this nothing is polled. */
  start(): void
  /** Settles when the worker polls for the first time. */
  ready: Promise<void>
  /** Starts the workflow of a message, eagerly on this very worker; rejects while Temporal is away, and once the worker stops. */
  startMessage: StartMessage
  /** Whether Temporal is connected and the worker polls. */
  polling(): boolean
  /** Reads certificates and key for Temporal again, where their files have changed; then the worker ends, and another one begins with them. */
  reload(): void
  stop(): Promise<void>
}

/** Milliseconds between attempts to reach Temporal. */
const pause = 2000
/** Milliseconds between two questions whether it still lets us in: the SDK polls on in silence when it does not; and for an answer. */
const [asked, patience] = [15_000, 10_000]

/** Throws a SettingsError when certificates or key for Temporal are no good. */
export function keepWorker(deps: Omit<WorkerDeps, 'connection' | 'startMessage' | 'searchable'>): KeptWorker {
  const { settings, log } = deps
  const stopped = new AbortController()
  let starter: StartMessage | null = null
  let running: RunningWorker | null = null
  let becameReady = () => {}
  const ready = new Promise<void>((resolve) => {
    becameReady = resolve
  })

  const watch = watchConnection(settings, log, () => {
    // No workflow is to start on a worker that ends.
    starter = null
    void running?.stop()
  })

  const startMessage: StartMessage = async (id, overdue) => {
    if (!starter || stopped.signal.aborted) throw new Error('this worker does not poll')
    return await starter(id, overdue)
  }

  /** Why Temporal is away; empty: it is not. */
  let away = ''

  /** Once for each outage and cause. */
  async function tell(error: unknown): Promise<void> {
    const { what, todo } = await whyUnreachable(settings, error)
    if (away !== what) log.warn({ address: settings.temporal.address, error: what, todo }, 'Temporal is away; mail is accepted and waits')
    away = what
  }

  function tellOfPolls(): void {
    log.info({ address: settings.temporal.address }, 'worker polls Temporal')
    away = ''
  }

  async function ask(connection: NativeConnection): Promise<void> {
    try {
      await connection.withDeadline(Date.now() + patience, () => connection.workflowService.describeNamespace({ namespace: settings.temporal.namespace }))
      if (away !== '' && running) tellOfPolls()
    } catch (error) {
      if (running) await tell(error)
    }
  }

  async function runOnce(): Promise<void> {
    const connection = await NativeConnection.connect(connectionOptions(settings))
    const asking = setInterval(() => { void ask(connection) }, asked)
    try {
      const searchable = await hasSearchAttributes(connection, settings.temporal.namespace)
      running = await startWorker({ ...deps, connection, startMessage, searchable })
      starter = workflowStarter(new Client({ connection, namespace: settings.temporal.namespace }), settings, true)
      tellOfPolls()
      becameReady()
      if (stopped.signal.aborted) await running.stop()
      await running.ended
    } finally {
      clearInterval(asking)
      starter = null
      running = null
      await connection.close().catch(() => {})
    }
  }

  async function keep(): Promise<void> {
    while (!stopped.signal.aborted) {
      try {
        await runOnce()
      } catch (error) {
        if (stopped.signal.aborted) break
        await tell(error)
        await sleep(pause, undefined, { signal: stopped.signal }).catch(() => {})
      }
    }
  }

  let kept = Promise.resolve()
  return {
    start() {
      kept = keep()
    },
    ready,
    startMessage,
    polling: () => running !== null && away === '',
    reload: watch.look,
    async stop() {
      watch.stop()
      stopped.abort()
      await running?.stop()
      await kept
    },
  }
}

/** To set one that is not registered would fail the workflow task, so they are set only where all of them are. */
async function hasSearchAttributes(connection: NativeConnection, namespace: string): Promise<boolean> {
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace })
    return Object.keys(searchAttributes).every((name) => Object.hasOwn(customAttributes, name))
  } catch {
    return false
  }
}
