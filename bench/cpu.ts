// CPU time by process, from /proc: a process, its descendants, and those of them that have ended and were waited for.

import { readdirSync, readFileSync } from 'node:fs'

/** Clock ticks a second, as every Linux that Node runs on has them. */
const ticks = 100

interface Stat {
  parent: number
  /** Milliseconds of CPU, those of ended children included. */
  cpu: number
}

/** Milliseconds of CPU that the process and its descendants have used. */
export function cpuOf(pid: number): number {
  const all = processes()
  const under = (each: number): boolean => each === pid || (all.has(each) && all.get(each)!.parent > 1 && under(all.get(each)!.parent))
  return [...all].filter(([each]) => under(each)).reduce((sum, [, stat]) => sum + stat.cpu, 0)
}

/** The same of those processes of a Postgres that serve one of the databases, and have not ended. */
export function cpuOfBackends(postgres: number, databases: string[]): number {
  const serves = (pid: number) => databases.includes(commandLine(pid).split(' ')[2]!)
  return [...processes()].filter(([each, { parent }]) => parent === postgres && serves(each)).reduce((sum, [, stat]) => sum + stat.cpu, 0)
}

/** As it was started, or as it calls itself: a backend of Postgres is `postgres: user database client state`. '' when it has ended. */
export function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1')
  } catch {
    return ''
  }
}

function processes(): Map<number, Stat> {
  const all = new Map<number, Stat>()
  for (const pid of pids()) {
    const stat = read(pid)
    if (stat) all.set(pid, stat)
  }
  return all
}

/** Of all processes. */
export function pids(): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number)
}

function read(pid: number): Stat | null {
  try {
    // The name of the program, in parentheses, may hold blanks.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ').map(Number)
    return { parent: fields[1]!, cpu: ((fields[11]! + fields[12]! + fields[13]! + fields[14]!) * 1000) / ticks }
  } catch {
    return null
  }
}

/** The most memory that the process has had resident, in MiB. */
export function peakMemory(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]) / 1024
}
