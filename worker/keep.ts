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

  async function runOnce(): Promise<void> {
    const connection = await NativeConnection.connect(connectionOptions(settings))
    try {
      const searchable = await hasSearchAttributes(connection, settings.temporal.namespace)
      running = await startWorker({ ...deps, connection, startMessage, searchable })
      starter = workflowStarter(new Client({ connection, namespace: settings.temporal.namespace }), settings, true)
      log.info({ address: settings.temporal.address }, 'worker polls Temporal')
      becameReady()
      if (stopped.signal.aborted) await running.stop()
      await running.ended
    } finally {
      starter = null
      running = null
      await connection.close().catch(() => {})
    }
  }

  async function keep(): Promise<void> {
    let told = ''
    while (!stopped.signal.aborted) {
      try {
        await runOnce()
        told = ''
      } catch (error) {
        if (stopped.signal.aborted) break
        const { what, todo } = await whyUnreachable(settings, error)
        // Once for each outage and cause: the next line is the one that says it is over.
        if (told !== what) log.warn({ address: settings.temporal.address, error: what, todo }, 'Temporal is away; mail is accepted and waits')
        told = what
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
    polling: () => running !== null,
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
