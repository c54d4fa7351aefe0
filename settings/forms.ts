// The forms that settings come in: durations, sizes, rates, counts, lists, sections. `form` is what docs/settings.md calls them.

import { z } from 'zod'
import { durationForm, parseDuration, parseRate, parseSize, rateForm, sizeForm } from './units.ts'

/** A text with a unit: as it is written in the file, read by `parse`, which gives null for what is none. */
const measure = (form: string, error: string, parse: (text: string) => number | null) =>
  z.string({ error }).refine((text) => parse(text) !== null, { error }).meta({ form })

const written = {
  duration: measure('duration', durationForm, parseDuration), size: measure('size', sizeForm, parseSize), rate: measure('rate', rateForm, parseRate),
}

/** Milliseconds. */
export const duration = (fallback: string) => written.duration.default(fallback).transform((text) => parseDuration(text)!)
/** Milliseconds, without a default. */
export const pause = written.duration.transform((text) => parseDuration(text)!)
/** Octets. */
export const size = (fallback: string) => written.size.default(fallback).transform((text) => parseSize(text)!)
/** A second; null: none. */
export const rate = written.rate.nullable().default(null).transform((text) => (text === null ? null : parseRate(text)!))
export const count = (fallback: number) => z.int().min(1, 'a whole number from 1').default(fallback)
export const bound = (fallback: number) => z.int().min(0, 'a whole number from 0, which means without bound').default(fallback)

/** One value or a list of them, as a list. */
export const several = <T extends z.ZodType>(each: T, what: string) =>
  z.union([each, z.array(each).min(1)], { error: what }).transform((value) => [value].flat() as z.output<T>[]).optional()

/** A mapping whose keys all have defaults. */
export const section = <T extends z.core.$ZodLooseShape>(shape: T) => z.strictObject(shape).prefault({} as never)
