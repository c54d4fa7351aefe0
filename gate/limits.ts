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

export function whyLimited(name: string, { concurrency, rate }: Limit): string {
  const parts = [concurrency === null ? '' : `${concurrency} attempts at a time`, rate === null ? '' : `${Number((rate * 60).toPrecision(3))} attempts a minute`]
  return `the limit for ${name} is reached: ${parts.filter((part) => part !== '').join(', ')}`
}
