// How a command ends in failure: what is wrong and what to do, in lines for people; sysexits.h codes for scripts.

import { SettingsError } from '../settings/load.ts'
import { RouteError } from '../smtp/hop-options.ts'
import { isDatabaseError, UnfitDatabase } from '../store/database.ts'

/** EX_USAGE: the command was called in a way that it cannot be. */
export const usage = 64

/** A failure whose message already says what to do. */
export class CommandError extends Error {
  readonly exitCode: number
  constructor(message: string, exitCode = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Prints the failure and ends the process. A failure that nobody foresaw shows its stack, since it is ours to mend. */
export function fail(error: unknown): never {
  const known = known_(error)
  if (known) console.error(`everpost: ${known.text}`)
  else console.error(error)
  process.exit(known?.code ?? 70)
}

/**
 * Whoever reads what we print may go first, as `head` does: then a command ends without a word, and what stops in order at a signal is given one.
 */
export function endWithReader(): void {
  let gone = false
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    if (gone) return
    gone = true
    if (process.listenerCount('SIGTERM') > 0) process.kill(process.pid, 'SIGTERM')
    else process.exit()
  })
}

const wrongDatabase = 'Is DATABASE_URL right?'
/** What to do about an answer of Postgres that tells of wrong settings, by its SQLSTATE. */
const hints: Record<string, string> = {
  28000: wrongDatabase, '28P01': wrongDatabase, '3D000': wrongDatabase, '42P01': 'If this database is meant, run: everpost migrate',
}

function known_(error: unknown): { text: string; code: number } | null {
  if (error instanceof SettingsError || error instanceof RouteError) return { text: `the settings are wrong\n${error.message}`, code: 78 }
  if (error instanceof UnfitDatabase) return { text: error.message, code: 78 }
  if (error instanceof CommandError) return { text: error.message, code: error.exitCode }
  const { name, code, message, cause } = (error ?? {}) as NodeJS.ErrnoException
  if (name === 'PostgresError') {
    const hint = hints[code ?? '']
    return { text: `Postgres says: ${message} (${code})${hint ? `. ${hint}` : ''}`, code: hint ? 78 : 70 }
  }
  if (isDatabaseError(error)) return { text: `Postgres cannot be reached, or has gone away (${message}). Is it running, and is DATABASE_URL right?`, code: 69 }
  // A socket that cannot be opened: who tried has said which, and what to do.
  if ((cause as NodeJS.ErrnoException | undefined)?.syscall === 'listen') return { text: message, code: 69 }
  return null
}
