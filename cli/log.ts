// The log: JSON lines for machines, lines for people on a terminal. Temporal's own runtime writes to the same.

import { availableParallelism } from 'node:os'
import { DefaultLogger, Runtime } from '@temporalio/worker'
import { type Logger, pino } from 'pino'
import pretty from 'pino-pretty'
import type { Settings } from '../settings/schema.ts'

/** Octets of lines that are held for a reader that does not read: beyond them lines are dropped, not the mail. */
const mostHeld = 16 * 1024 * 1024

export function createLog(settings: Settings): Logger {
  // Lines for machines are written beside the work, those that come meanwhile together; all of them before the process exits.
  const stream = process.stdout.isTTY ? pretty({ ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss', destination: terminal() }) : pino.destination({ fd: 1, sync: false, maxLength: mostHeld })
  return pino({ level: settings.log.level, timestamp: pino.stdTimeFunctions.isoTime, base: null }, stream)
}

/** One that was closed fails each line; what else it means, its signal says. */
function terminal() {
  return pino.destination({ fd: 1, sync: true }).on('error', () => {})
}

/**
 * To be called once, before anything of Temporal's. Its native part gets threads for half of the cores, the others are for the thread that
 * runs us. Signals stay ours: the parts of a process stop in our order.
 */
export function installTemporalRuntime(log: Logger): void {
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
