// What of the settings may be shown: everything but passwords, their hashes, and keys.

import { isMapping } from './defaults.ts'

/** A part of the settings as it was written, its secrets as `***`. `key`: the name it goes by. */
export function masked(value: unknown, key?: PropertyKey): unknown {
  if (Array.isArray(value)) return value.map((each) => masked(each, key))
  if (isMapping(value)) return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, masked(each, name)]))
  if (typeof value !== 'string' || value === '') return value
  if (key === 'passwordHash') return value.startsWith('scrypt$') ? 'scrypt$***' : '***'
  if (key === 'secret') return '***'
  return key === 'url' ? maskedUrl(value) : value
}

/** The password may stand before the `@`, with any characters in it, or among the parameters. A URL that can be read in two ways is hidden as a whole. */
function maskedUrl(url: string): string {
  const [, scheme, user, password = '', hosts, rest] = /^(\w+:\/\/)(?:([^:/?#]*?)(:[^/?#]*)?@)?([^@/?#\s]*)((?:[/?#][^@]*)?)$/.exec(url) ?? []
  if (scheme === undefined || /:(?!\d*(,|$))/.test(hosts!.replace(/\[[^\]]*\]/g, ''))) return '***'
  return `${scheme}${user === undefined ? '' : `${user}${password && ':***'}@`}${hosts}${rest!.replace(/((?:pass|secret|token)\w*=)[^&#]*/gi, '$1***')}`
}
