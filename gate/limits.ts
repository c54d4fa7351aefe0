// The limits that operators and the settings set, and how they are told: pure.

import type { Limit } from './types.ts'

/** A limit, and the name that it was set for. */
export interface NamedLimit {
  name: string
  limit: Limit
}

/** The limit for one of the names: an operator's word, of the rows of these names, goes over the settings. */
export function limitFor(names: string[], rows: (Limit & { name: string })[], settings: (Limit & { destination: string })[]): NamedLimit | null {
  const row = rows.find((row) => row.concurrency !== null || row.rate !== null)
  if (row) return { name: row.name, limit: row }
  const set = settings.find(({ destination }) => names.includes(destination))
  return set ? { name: set.destination, limit: set } : null
}

export function whyLimited(name: string, limit: Limit): string {
  return `the limit for ${name} is reached: ${limitInWords(limit)}`
}

export function limitInWords({ concurrency, rate }: Limit): string {
  const parts = [concurrency === null ? '' : `${concurrency} attempt${concurrency === 1 ? '' : 's'} at a time`, rate === null ? '' : rateInWords(rate)]
  return parts.filter((part) => part !== '').join(' and ')
}

/** `perSecond`: few are told by the hour, so that the number is no fraction. */
function rateInWords(perSecond: number): string {
  const [count, unit] = perSecond * 60 >= 1 ? [perSecond * 60, 'a minute'] : [perSecond * 3600, 'an hour']
  return `${Number(count.toPrecision(3))} attempt${count === 1 ? '' : 's'} ${unit}`
}
