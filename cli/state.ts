// The note that a running dev mode leaves for the commands typed in another terminal: how to reach it.

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface DevNote {
  pid: number
  databaseUrl: string
  temporalAddress: string
  user: string
  password: string
  /** The self-signed certificate, to be trusted by `everpost send`. */
  certificate: string
}

const path = (state: string) => join(state, 'dev.json')

/** Readable by its owner alone: it holds passwords. */
export function writeDevNote(state: string, note: DevNote): void {
  writeFileSync(path(state), `${JSON.stringify(note, null, 2)}\n`, { mode: 0o600 })
}

export function removeDevNote(state: string): void {
  rmSync(path(state), { force: true })
}

/** The note of a dev mode that is running now, else null. */
export function readDevNote(state: string): DevNote | null {
  try {
    const note = JSON.parse(readFileSync(path(state), 'utf8')) as DevNote
    process.kill(note.pid, 0)
    return note
  } catch (error) {
    // EPERM: it runs, as another user.
    if ((error as NodeJS.ErrnoException).code === 'EPERM') return JSON.parse(readFileSync(path(state), 'utf8')) as DevNote
    return null
  }
}
