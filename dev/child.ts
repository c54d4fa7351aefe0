// Servers that dev mode runs as children: each in a process group of its own, so that the terminal's Ctrl-C reaches us alone
// and we stop them in order; killed when we end otherwise, and found again by a pid file when we were killed ourselves.

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { notedPid, notePid } from './pid-file.ts'

export interface ChildOptions {
  command: string[]
  /** Its output is appended here. */
  logFile: string
  pidFile: string
  /** The signal that stops it in good order. */
  stopSignal: NodeJS.Signals
  environment?: NodeJS.ProcessEnv
}

export interface Child {
  pid: number
  /** True once it has ended, wanted or not. */
  ended(): boolean
  /** Waits until it has ended; gives its exit code, or null when a signal ended it. */
  exited(): Promise<number | null>
  /** Stops it; resolves when it is gone. Killed when it takes longer than `deadline` milliseconds. */
  stop(deadline?: number): Promise<void>
}

/** Those that run, in the order of their start. */
const children = new Set<Child>()
const toKill = new Set<ChildProcess>()
let stopping = false
process.on('exit', () => {
  for (const child of toKill) child.kill('SIGKILL')
})

export function startChild(options: ChildOptions): Child {
  if (stopping) throw new Error('everything is being stopped')
  mkdirSync(dirname(options.logFile), { recursive: true })
  const log = openSync(options.logFile, 'a')
  const [program, ...args] = options.command
  const spawned = spawn(program!, args, { detached: true, stdio: ['ignore', log, log], env: options.environment ?? process.env })
  closeSync(log)
  if (spawned.pid === undefined) throw new Error(`${program} cannot be started`)
  spawned.unref()
  notePid(options.pidFile, spawned.pid)
  const exited = new Promise<number | null>((resolve) => spawned.once('exit', resolve))
  const child: Child = {
    pid: spawned.pid,
    ended: () => spawned.exitCode !== null || spawned.signalCode !== null,
    exited: () => {
      spawned.ref()
      return exited
    },
    stop: (deadline = 5000) => stopChild(spawned, child, options, deadline),
  }
  children.add(child)
  void exited.then(() => children.delete(child))
  killedWithUs(spawned)
  return child
}

/** Stops all that run, the last started first, and lets none start any more. */
export async function stopChildren(): Promise<void> {
  stopping = true
  for (const child of [...children].reverse()) await child.stop()
}

/** A child that is killed when we exit; what ends us without that (a kill -9, SIGQUIT) it does not notice. */
export function killedWithUs(child: ChildProcess): void {
  toKill.add(child)
  child.once('exit', () => toKill.delete(child))
}

async function stopChild(spawned: ChildProcess, child: Child, options: ChildOptions, deadline: number): Promise<void> {
  if (!child.ended()) {
    spawned.kill(options.stopSignal)
    const timer = setTimeout(() => spawned.kill('SIGKILL'), deadline)
    await child.exited()
    clearTimeout(timer)
  }
  rmSync(options.pidFile, { force: true })
}

/** Stops what an earlier run left behind, if it still runs. */
export async function stopStale(pidFile: string, signal: NodeJS.Signals, deadline = 5000): Promise<void> {
  for (let waited = 0, pid = notedPid(pidFile); pid !== null; waited += 100, pid = notedPid(pidFile)) {
    if (waited === 0 || waited >= deadline) process.kill(pid, waited === 0 ? signal : 'SIGKILL')
    await sleep(100)
  }
  rmSync(pidFile, { force: true })
}
