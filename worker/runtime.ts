// The native part of Temporal's SDK, one for the process: its threads, and its words in our log.

import { availableParallelism } from 'node:os'
import { DefaultLogger, Runtime } from '@temporalio/worker'
import type { Logger } from 'pino'

/**
 * To be called once, before anything of Temporal's. Its native part gets threads for half of the cores, the others are for the thread that
 * runs us. Signals stay ours: the parts of a process stop in our order.
 */
export function installRuntime(log: Logger): void {
  const logger = new DefaultLogger('WARN', ({ level, message, meta }) => {
    log[level === 'ERROR' ? 'error' : 'warn']({ temporal: meta && 'error' in meta ? { ...meta, error: inWords(meta['error']) } : meta }, message)
  })
  process.env['TOKIO_WORKER_THREADS'] ??= String(Math.ceil(availableParallelism() / 2))
  Runtime.install({ logger, shutdownSignals: [], telemetryOptions: { logging: { filter: { core: 'ERROR', other: 'ERROR' }, forward: {} } } })
}

/** As JSON an error would be `{}`. Those of a workflow are of its own realm: no instances of our Error. */
function inWords(error: unknown): unknown {
  const { message, stack, cause } = (error ?? {}) as Partial<Error>
  return message === undefined ? error : { message, stack, ...(cause === undefined ? {} : { cause: inWords(cause) }) }
}
