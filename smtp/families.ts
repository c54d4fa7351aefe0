// Address families: which of a host's addresses are tried, and in what order, by those that the settings allow.

import { isIP } from 'node:net'
import { isSocketPath } from '../mail/route.ts'

export type Family = 'ipv4' | 'ipv6'

export const bothFamilies: Family[] = ['ipv4', 'ipv6']

export function familyOf(address: string): Family {
  return isIP(address) === 4 ? 'ipv4' : 'ipv6'
}

/**
 * The addresses of these families, the first family first, at most `most`. When the first has as many alone, the second still gets the last
 * place: a host with a dozen IPv6 addresses is not given up because IPv6 leads nowhere from here (Postfix: smtp_balance_inet_protocols).
 * A Unix socket is of no family.
 */
export function addressesToTry(addresses: string[], families: Family[], most: number): string[] {
  if (addresses.every(isSocketPath)) return addresses
  const [first = [], second = []] = families.map((family) => addresses.filter((address) => familyOf(address) === family))
  return [...first.slice(0, second.length > 0 ? most - 1 : most), ...second].slice(0, most)
}
