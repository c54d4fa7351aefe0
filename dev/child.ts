// Servers that dev mode runs as children: each in a process group of its own, so that the terminal's Ctrl-C reaches us alone
// and we stop them in order; found again by a pid file when their parent was killed.

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export interface ChildOptions {
  command: string[]
  /** Its output is appended here. */
  logFile: string
  pidFile: string
  /** The signal that stops it in good order. */
  stopSignal: NodeJS.Signals
  environment?: NodeJS.ProcessEnv
  uid?: number
  gid?: number
}

export interface Child {
  pid: number
  /** True once it has ended, wanted or not. */
  ended(): boolean
  /** Stops it; resolves when it is gone. Killed when it takes longer than `deadline` milliseconds. */
  stop(deadline?: number): Promise<void>
}

export function startChild(options: ChildOptions): Child {
  mkdirSync(dirname(options.logFile), { recursive: true })
  const log = openSync(options.logFile, 'a')
  const [program, ...args] = options.command
  const child = spawn(program!, args, {
    detached: true, stdio: ['ignore', log, log], env: options.environment ?? process.env,
    ...(options.uid === undefined ? {} : { uid: options.uid }), ...(options.gid === undefined ? {} : { gid: options.gid }),
  })
  closeSync(log)
  if (child.pid === undefined) throw new Error(`${program} cannot be started`)
  child.unref()
  writeFileSync(options.pidFile, JSON.stringify({ pid: child.pid, program: options.command.at(-1) }))
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const ended = () => child.exitCode !== null || child.signalCode !== null
  return { pid: child.pid, ended, stop: (deadline = 5000) => stopChild(child, exited, ended, options, deadline) }
}

async function stopChild(
  child: ChildProcess, exited: Promise<void>, ended: () => boolean, options: ChildOptions, deadline: number,
): Promise<void> {
  if (!ended()) {
    child.kill(options.stopSignal)
    const timer = setTimeout(() => child.kill('SIGKILL'), deadline)
    await exited
    clearTimeout(timer)
  }
  rmSync(options.pidFile, { force: true })
}

/**
 * Stops what an earlier run left behind, if the process with the noted pid still carries the noted argument in its
 * command line; a pid that has gone to another program is left alone.
 */
export async function stopStale(pidFile: string, signal: NodeJS.Signals, deadline = 5000): Promise<void> {
  let note: { pid: number; program: string }
  try {
    note = JSON.parse(readFileSync(pidFile, 'utf8')) as typeof note
  } catch {
    return
  }
  for (let waited = 0; isRunning(note.pid, note.program); waited += 100) {
    if (waited === 0 || waited >= deadline) process.kill(note.pid, waited === 0 ? signal : 'SIGKILL')
    await sleep(100)
  }
  rmSync(pidFile, { force: true })
}

function isRunning(pid: number, argument: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(argument)
  } catch {
    return false
  }
}
