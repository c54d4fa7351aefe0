// What a running dev mode leaves in its folder for others: a lock, and a note for the commands typed in another terminal.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { claim, notedPid } from '../dev/pid-file.ts'
import type { Listener, SettingsFile } from '../settings/schema.ts'
import { CommandError } from './errors.ts'

export interface DevNote {
  /** Goes under the settings file, as it does in dev mode itself; with the addresses of its Postgres and Temporal. */
  base: SettingsFile
  /** Goes after the routes of the settings: those to the sink. */
  routes: { domain: string; nextHop: string }[]
  /** As they listen, none of them with the port 0. */
  listeners: Listener[]
  http: { address: string; port: number }
  /** Dev mode's own user and the password; null when the settings file has users instead. */
  login: { user: string; password: string } | null
  /** The self-signed certificate, to be trusted by `everpost send`. */
  certificate: string
}

const lock = (state: string) => join(state, 'dev.pid')
const note = (state: string) => join(state, 'dev.json')

/** Makes the folder and takes it for this process. Throws CommandError when another dev mode runs in it, or when it cannot be made. */
export function lockState(state: string): void {
  let other: number | null
  try {
    mkdirSync(state, { recursive: true })
    other = claim(lock(state))
  } catch (error) {
    throw new CommandError(`${state} cannot be used (${(error as NodeJS.ErrnoException).code}). Set state to a folder of your own.`)
  }
  if (other !== null) throw new CommandError(`dev mode runs here already (pid ${other}). Stop it with Ctrl-C where it runs, or with: kill ${other}`)
  removeDevNote(state)
}

export function unlockState(state: string): void {
  rmSync(lock(state), { force: true })
}

/** Readable by its owner alone: it holds passwords. */
export function writeDevNote(state: string, told: DevNote): void {
  writeFileSync(note(state), `${JSON.stringify(told, null, 2)}\n`, { mode: 0o600 })
}

export function removeDevNote(state: string): void {
  rmSync(note(state), { force: true })
}

/** The note of a dev mode that is ready and running now, else null. */
export function readDevNote(state: string): DevNote | null {
  if (notedPid(lock(state)) === null) return null
  try {
    return JSON.parse(readFileSync(note(state), 'utf8')) as DevNote
  } catch {
    return null
  }
}
