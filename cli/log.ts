// The log: JSON lines for machines, lines for people on a terminal.

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
