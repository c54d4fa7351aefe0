// A fault of the settings in a line: where it stands, what is written there, and what is allowed. Secrets are not repeated.

import type { z } from 'zod'
import { masked } from './secrets.ts'

/** Lines for people. `where` names file and line of a setting. */
export function faultsOf(issue: z.core.$ZodIssue, written: unknown, where: (path: PropertyKey[]) => string): string[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${where([...issue.path, key])}: ${dotted([...issue.path, key])}: there is no such setting`)
  }
  if (issue.code === 'invalid_key') return [`${where(issue.path)}: ${dotted(issue.path)}: its name must be ${issue.issues.map(allowedBy).join('; ')}`]
  if (issue.code === 'invalid_union') {
    // The fault is told by the form that the value was meant to have: the one that takes it at first sight.
    const meant = issue.errors.find((issues) => !issues.some((inner) => inner.path.length === 0 && /^invalid_(type|value)$/.test(inner.code)))
    if (meant) return meant.flatMap((inner) => faultsOf({ ...inner, path: [...issue.path, ...inner.path] }, written, where))
  }
  const value = issue.path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], written)
  // Of what has another shape than it should nobody knows whether it holds a secret.
  const misshapen = typeof value === 'string' && issue.code === 'invalid_type' && ['object', 'record', 'array'].includes(issue.expected)
  const is = value === undefined ? 'is missing' : misshapen ? 'is a text' : `is ${JSON.stringify(masked(value, issue.path.at(-1))).slice(0, 80)}`
  return [`${where(issue.path)}: ${dotted(issue.path)} ${is}; allowed: ${allowedBy(issue)}`]
}

export function dotted(path: PropertyKey[]): string {
  return path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i > 0 ? '.' : ''}${String(key)}`)).join('')
}

const kinds: Record<string, string> = {
  object: 'a mapping of keys to values', record: 'a mapping of keys to values', array: 'a list', string: 'a text', number: 'a number', int: 'a whole number', boolean: 'true or false',
}

/** The schema's own words where it has some, else words for what the validator found. */
function allowedBy(issue: z.core.$ZodIssue): string {
  if (!/^(Invalid|Too|Unrecognized)\b/.test(issue.message)) return issue.message
  switch (issue.code) {
    case 'invalid_type': return kinds[issue.expected] ?? issue.expected
    case 'invalid_value': return issue.values.map(String).join(', ')
    case 'too_small': return issue.origin === 'number' ? `a number from ${issue.minimum}` : `${kinds[issue.origin]} that is not empty`
    case 'too_big': return `at most ${issue.maximum}`
    default: return issue.message
  }
}
