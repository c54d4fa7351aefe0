// Pid files that outlive a kill -9 without doing harm: beside the pid stands when the process started, which tells it from a
// later one that was given the same pid.

import { execFileSync } from 'node:child_process'
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

interface Note {
  pid: number
  started: string
}

/** Notes a process that is a child of ours or we ourselves. */
export function notePid(file: string, pid: number): void {
  writeFileSync(file, JSON.stringify({ pid, started: startOf(pid) ?? '' } satisfies Note))
}

/** The pid of the process that the file notes, if it still runs; else null. */
export function notedPid(file: string): number | null {
  try {
    const { pid, started } = JSON.parse(readFileSync(file, 'utf8')) as Note
    // Where nobody tells when a process started, one that runs is taken for the one that was noted.
    return (started === '' ? isAlive(pid) : startOf(pid) === started) ? pid : null
  } catch {
    return null
  }
}

/**
 * Makes the file note this process and no other: a lock. Null when it is ours, until it is removed or we end; else the pid of the
 * process that has it.
 */
export function claim(file: string): number | null {
  const own = `${file}.${process.pid}`
  const stale = `${own}.stale`
  notePid(own, process.pid)
  try {
    // A link is made whole or not at all: nobody reads a note of which a half is written.
    while (!tryLink(own, file)) {
      const holder = notedPid(file)
      if (holder !== null) return holder
      try {
        renameSync(file, stale)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        continue
      }
      // Another process may have put its own in the place of the stale one, since we looked: it gets that back.
      if (notedPid(stale) !== null) tryLink(stale, file)
      rmSync(stale)
    }
    return null
  } finally {
    rmSync(own, { force: true })
  }
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return false
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** When the process with that pid started, in the words of the system; null when none runs. */
function startOf(pid: number): string | null {
  try {
    if (process.platform !== 'linux') {
      const environment = { ...process.env, LC_ALL: 'C', TZ: 'UTC' }
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env: environment, stdio: ['ignore', 'pipe', 'ignore'] }).trim() || null
    }
    // proc(5): state is the third field, starttime the 22nd; the second, a name, may hold anything and ends at the last parenthesis.
    const [state, ...fields] = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ')
    return state === 'Z' || state === 'X' ? null : fields[18]!
  } catch {
    return null
  }
}
