// How listings, of the command line and of the page, write ages, times, what comes next, and tables.

import type { QueueRow } from '../store/queue.ts'

/** The two largest units of a span of milliseconds: `3d 4h`, `12s`. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000))
  const parts = [[Math.floor(seconds / 86400), 'd'], [Math.floor(seconds / 3600) % 24, 'h'], [Math.floor(seconds / 60) % 60, 'm'], [seconds % 60, 's']] as const
  const from = Math.max(0, parts.findIndex(([value]) => value > 0))
  const shown = parts.slice(from === -1 ? 3 : from, from + 2).filter(([value], i) => value > 0 || i === 0)
  return seconds === 0 ? '0s' : shown.map(([value, unit]) => `${value}${unit}`).join(' ')
}

/** A moment, and how far it is from now: `2026-11-24 05:00:00Z (in 4m 59s)`. */
export function moment(at: Date, now = Date.now()): string {
  const distance = at.getTime() - now
  const relative = distance >= 0 ? `in ${span(distance)}` : `${span(-distance)} ago`
  return `${stamp(at)} (${relative})`
}

/** `2026-11-24 05:00:00Z` */
export function stamp(at: Date): string {
  return `${at.toISOString().replace('T', ' ').slice(0, 19)}Z`
}

/** When something happens next to a message of the queue: `under way`, `on hold`, `now`, `in 4m 59s`. */
export function whenNext({ active, held, nextAttemptAt }: Pick<QueueRow, 'active' | 'held' | 'nextAttemptAt'>, now = Date.now()): string {
  const wait = (nextAttemptAt?.getTime() ?? 0) - now
  return active ? 'under way' : held ? 'on hold' : wait <= 0 ? 'now' : `in ${span(wait)}`
}

/** Whom a message of the queue is for: the first who waits, and how many more. */
export function whom({ forwardPath, waiting }: Pick<QueueRow, 'forwardPath' | 'waiting'>): string {
  return `${forwardPath ?? '(a report is due)'}${waiting > 1 ? ` +${waiting - 1}` : ''}`
}

/** Who sent a message of the queue: its reverse-path, and the user who submitted it where that is another name. */
export function sentBy({ reversePath, user }: Pick<QueueRow, 'reversePath' | 'user'>): string {
  return `${address(reversePath)}${user === null || user.toLowerCase() === reversePath.toLowerCase() ? '' : ` (${user})`}`
}

/** Columns padded to their widest cell. */
export function table(rows: string[][]): string {
  const widths = rows.reduce<number[]>((most, row) => row.map((cell, i) => Math.max(cell.length, most[i] ?? 0)), [])
  return rows.map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join('  ')).join('\n')
}

export function address(path: string): string {
  return path === '' ? '<>' : path
}
