// The forms of options: counts, times, durations, rates. What has another form is refused, with the form that was meant.

import { InvalidArgumentError } from 'commander'
import { durationForm, parseDuration, parseRate, rateForm } from '../settings/units.ts'

/** A whole number from 1 to 9999999. */
export function count(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new InvalidArgumentError('a whole number from 1 to 9999999')
  return Number(text)
}

const iso8601 = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/

/** A moment: ISO 8601, or a duration before now. Nothing else: a year that was meant as minutes would choose all that there is. */
export function moment(text: string): Date {
  const before = parseDuration(text)
  const at = before !== null ? new Date(Date.now() - before) : new Date(iso8601.test(text) ? text : Number.NaN)
  if (Number.isNaN(at.getTime())) throw new InvalidArgumentError('a time such as 2026-11-24T05:00Z, or how long ago, such as 2h')
  return at
}

/** Milliseconds, more than none. */
export function duration(text: string): number {
  const time = parseDuration(text)
  if (time === null || time === 0) throw new InvalidArgumentError(durationForm)
  return time
}

/** A second. */
export function rate(text: string): number {
  const perSecond = parseRate(text)
  if (perSecond === null) throw new InvalidArgumentError(rateForm)
  return perSecond
}

/** Milliseconds between two. */
export const pauseOf = (text: string): number => 1000 / rate(text)

/** For an option that may be given more than once. */
export const collect = (value: string, before: string[] = []): string[] => [...before, value]
