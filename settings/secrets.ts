// What of the settings may be shown: everything but passwords, their hashes, and keys.

import { isMapping } from './defaults.ts'

/** A part of the settings as it was written, its secrets as `***`. `key`: the name it goes by. */
export function masked(value: unknown, key?: PropertyKey): unknown {
  if (Array.isArray(value)) return value.map((each) => masked(each, key))
  if (isMapping(value)) return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, masked(each, name)]))
  if (value === '' || value === null || value === undefined) return value
  // By the name, and by the value as well: who is at fault may have put a secret under another name.
  if (/pass|secret|token|apikey/i.test(String(key)) && !/(Hash|File|Env)$/.test(String(key))) return '***'
  if (key === 'passwordHash') return String(value).startsWith('scrypt$') ? 'scrypt$***' : '***'
  if (typeof value !== 'string') return value
  return key === 'url' || value.includes('://') ? maskedUrl(value) : value.replace(/scrypt\$.*/, 'scrypt$***')
}

/** The password may stand before the `@`, with any characters in it, or among the parameters. A URL that can be read in two ways is hidden as a whole. */
function maskedUrl(url: string): string {
  const [, scheme, user, password = '', hosts, rest] = /^(\w+:\/\/)(?:([^:/?#]*?)(:[^/?#]*)?@)?([^@/?#\s]*)((?:[/?#][^@]*)?)$/.exec(url) ?? []
  if (scheme === undefined || /:(?!\d*(,|$))/.test(hosts!.replace(/\[[^\]]*\]/g, ''))) return '***'
  return `${scheme}${user === undefined ? '' : `${user}${password && ':***'}@`}${hosts}${rest!.replace(/((?:pass|secret|token)\w*=)[^&#]*/gi, '$1***')}`
}
