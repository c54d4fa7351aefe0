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

/** As the driver takes it: several hosts, too, which a URL may not have. */
function isPostgresUrl(text: string): boolean {
  const [, whole, rest] = /^(postgres(?:ql)?:\/\/(?:[^/?#]*@)?[^/?#,]*)(?:,[^/?#@]*)?(.*)$/s.exec(text) ?? []
  if (whole === undefined || !URL.canParse(whole + rest)) return false
  const { username, password } = new URL(whole + rest)
  return /^([^%]|%[0-9a-f]{2})*$/i.test(username + password)
}

/** Empty: none. */
export const postgresUrl = z.string().refine((text) => text === '' || isPostgresUrl(text), {
  error: 'postgres://user:password@host:port/database, special characters of the password as %40 and the like (DATABASE_URL goes over the file)',
})
function isGrpcAddress(text: string): boolean {
  const [whole, port = '7233'] = /^(?:\[[0-9a-fA-F.:]+\]|[^\s:/]+)(?::(\d{1,5}))?$/.exec(text) ?? []
  return whole !== undefined && Number(port) >= 1 && Number(port) <= 65535
}

/** Empty: none. */
export const grpcAddress = z.string().refine((text) => text === '' || isGrpcAddress(text), { error: 'host:port, such as 127.0.0.1:7233 (TEMPORAL_ADDRESS goes over the file)' })

/** A check that no two of them mean the same: `entries` are keys with what each means. `what`: that each has of its own. */
export const distinct = <T>(what: string, entries: (value: T) => (readonly [PropertyKey, string])[]) => (value: T, context: z.RefinementCtx) => {
  const first = new Map<string, PropertyKey>()
  for (const [key, meaning] of entries(value)) {
    const other = first.get(meaning)
    if (other === undefined) first.set(meaning, key)
    else context.addIssue({ code: 'custom', path: [key], message: `${what} of its own: ${typeof other === 'number' ? `[${other}]` : String(other)} has the same` })
  }
}

/** A mapping whose keys all have defaults. */
export const section = <T extends z.core.$ZodLooseShape>(shape: T) => z.strictObject(shape).prefault({} as never)
