// Points at which a process dies or stops, once: EVERPOST_CHAOS_POINT=name:signal:passage, such as W5:SIGKILL:17.

import { writeSync } from 'node:fs'

/**
 * Ingress: I1 DATA was answered, nothing read yet; I2 some of the body stored; I3 before COMMIT; I4 after COMMIT, before the 250; I5 after
 * the 250, before the start of the workflow; I6 after the start. Worker: W1 not connected; W2 after RCPT, DATA answered; W3 some
 * of the body sent; W3m before the dot is marked; W4 the dot marked and on its way; W5 reply known, not recorded; W6 recorded, not told to
 * the workflow; W7 report committed, not told; W8 before the start of the report's workflow. W8 is I5 in a process that delivers.
 */
export const points = ['I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'W1', 'W2', 'W3', 'W3m', 'W4', 'W5', 'W6', 'W7', 'W8'] as const
export type Point = (typeof points)[number]

const [armed, signal, passage] = (process.env['EVERPOST_CHAOS_POINT'] ?? '').split(':')
let left = Number(passage ?? 1)

/** Strikes when this is the armed point and its passage; synchronously, so that nothing more is done. */
export function reach(point: Point): void {
  if (point !== armed || --left !== 0) return
  writeSync(2, `chaos: ${signal} at ${point}\n`)
  process.kill(process.pid, signal as NodeJS.Signals)
}

/** What the negative controls break: EVERPOST_CHAOS_SABOTAGE=early-250 or forget-dot. */
export const sabotage = process.env['EVERPOST_CHAOS_SABOTAGE'] ?? ''
