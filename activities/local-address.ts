// Templates with {localpart}, {domain} and {sender}: what a stranger wrote in an address must stay one harmless piece.

import { createHash } from 'node:crypto'

export interface AddressValues {
  localpart: string
  domain: string
  sender: string
}

/** Characters of a path segment: no file system takes more than 255, and a template may put its own beside it. */
const longest = 200

const placeholder = /\{(localpart|domain|sender)\}/g

/** Expands a path. Each value becomes one path segment, in lower case, that cannot be hidden, empty or lead elsewhere. */
export function expandPath(template: string, values: AddressValues): string {
  return template.replace(placeholder, (_, name: keyof AddressValues) => segment(values[name]))
}

function segment(value: string): string {
  const octets = Buffer.from(value.toLowerCase())
  const safe = [...octets].map((octet) => (/[a-z0-9._+=@-]/.test(String.fromCharCode(octet)) ? String.fromCharCode(octet) : hex(octet))).join('')
  const named = safe === '' ? hex(0) : safe.startsWith('.') ? hex(46) + safe.slice(1) : safe
  if (named.length <= longest) return named
  // Cut, it would be another's as well.
  return `${named.slice(0, longest - 33).replace(/%.?$/, '')}~${createHash('sha256').update(named).digest('hex').slice(0, 32)}`
}

function hex(octet: number): string {
  return `%${octet.toString(16).toUpperCase().padStart(2, '0')}`
}

/** Expands arguments; null when a value has control characters, or would turn its argument into an option. */
export function expandArguments(command: string[], values: AddressValues): string[] | null {
  const expanded = command.map((argument) => argument.replace(placeholder, (_, name: keyof AddressValues) => values[name]))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  const harmful = expanded.some((argument, i) => /[\x00-\x1f\x7f]/.test(argument) || (argument.startsWith('-') && !command[i]!.startsWith('-')))
  return harmful ? null : expanded
}
