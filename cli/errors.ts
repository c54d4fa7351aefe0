// How a command ends in failure: what is wrong and what to do, in lines for people; sysexits.h codes for scripts.

import { sysexits } from '../mail/sysexits.ts'
import { SettingsError } from '../settings/load.ts'
import { UnusableSetting } from '../smtp/hop-options.ts'
import { isAway, isDatabaseError, seenOf, UnfitDatabase } from '../store/database.ts'

/** A failure whose message already says what to do. */
export class CommandError extends Error {
  readonly exitCode: number
  constructor(message: string, exitCode = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

export function noMessage(id: string): CommandError {
  return new CommandError(`there is no message ${id}. everpost queue lists what is queued.`)
}

/** Prints the failure and ends the process. A failure that nobody foresaw shows its stack, since it is ours to mend. */
export function fail(error: unknown): never {
  const known = explained(error)
  if (known) console.error(`everpost: ${known.text}`)
  else console.error(error)
  process.exit(known?.code ?? sysexits.software)
}

const wrongDatabase = 'Is DATABASE_URL right?'
/** What to do about an answer of Postgres that tells of wrong settings, by its SQLSTATE. */
const hints: Record<string, string> = {
  28000: wrongDatabase, '28P01': wrongDatabase, '3D000': wrongDatabase, '42P01': 'If this database is meant, run: everpost migrate',
}

function explained(error: unknown): { text: string; code: number } | null {
  if (error instanceof SettingsError || error instanceof UnusableSetting) return { text: `the settings are wrong\n${error.message}`, code: sysexits.config }
  if (error instanceof UnfitDatabase) return { text: error.message, code: sysexits.config }
  if (error instanceof CommandError) return { text: error.message, code: error.exitCode }
  const { name, code, message, cause } = (error ?? {}) as NodeJS.ErrnoException
  if (name === 'PostgresError' && !isAway(error)) {
    const hint = hints[code ?? '']
    return { text: `Postgres says: ${message} (${code})${hint ? `. ${hint}` : ''}`, code: hint ? sysexits.config : sysexits.software }
  }
  if (isDatabaseError(error)) return { text: `Postgres cannot be reached, or has gone away (${seenOf(error)}). Is it running, and is DATABASE_URL right?`, code: sysexits.unavailable }
  // A socket that cannot be opened: who tried has said which, and what to do.
  if ((cause as NodeJS.ErrnoException | undefined)?.syscall === 'listen') return { text: message, code: sysexits.unavailable }
  return null
}
