// Destinations: what limits, suspensions and circuits go by. Thousands of domains at one provider are one destination.

import { fitsName } from './retry.ts'
import { nextHopKey, type NextHop } from './route.ts'

export interface Provider {
  name: string
  /** Host names, or `*.name` for all below it. */
  hosts: string[]
}

/** Providers whose MX host names differ from domain to domain, or are spread over several names, or that have retry rules of their own: data. */
export const builtInProviders: Provider[] = [
  { name: 'google', hosts: ['*.google.com', '*.googlemail.com'] },
  { name: 'microsoft', hosts: ['*.protection.outlook.com', '*.mx.microsoft', '*.hotmail.com'] },
  { name: 'yahoo', hosts: ['*.yahoodns.net'] },
  { name: 'apple', hosts: ['*.icloud.com'] },
  { name: 'mimecast', hosts: ['*.mimecast.com', '*.mimecast.co.za'] },
  { name: 'proofpoint', hosts: ['*.pphosted.com', '*.ppe-hosted.com'] },
  { name: 'barracuda', hosts: ['*.barracudanetworks.com'] },
  { name: 'messagelabs', hosts: ['*.messagelabs.com'] },
  { name: 'zoho', hosts: ['*.zoho.com', '*.zoho.eu'] },
  { name: 'gmx', hosts: ['*.gmx.net', '*.web.de'] },
  { name: 'ionos', hosts: ['*.kundenserver.de', '*.ionos.com', '*.1and1.com'] },
  { name: 'comcast', hosts: ['*.comcast.net'] },
  { name: 'ovh', hosts: ['*.mail.ovh.net'] },
  { name: 'yandex', hosts: ['*.yandex.net', '*.yandex.ru'] },
]

/** Hosts named in full; a longer list is cut, and its length told. */
export const hostsNamed = 4

/**
 * The name of the destination that a next hop's hosts make up: the provider whom all of them belong to, else the hosts
 * themselves, in alphabetical order; a next hop by an operator's route is its own. A port other than 25 is part of it.
 */
export function destinationOf(hop: NextHop, hosts: string[], providers: Provider[]): string {
  if (hop.kind !== 'mx') return nextHopKey(hop)
  const provider = providers.find(({ hosts: patterns }) => hosts.every((host) => patterns.some((pattern) => fitsName(pattern, host))))
  return provider ? `${provider.name}${portOf(hop)}` : nameOfHosts(hosts, 0, hop)
}

/** `unnamed`: further hosts that are not in the list. */
export function nameOfHosts(hosts: string[], unnamed: number, hop: Pick<NextHop, 'port'>): string {
  const more = Math.max(hosts.length - hostsNamed, 0) + unnamed
  return `${[...hosts].sort().slice(0, hostsNamed).join(',')}${more > 0 ? `,+${more}` : ''}${portOf(hop)}`
}

function portOf({ port }: Pick<NextHop, 'port'>): string {
  return port === 25 ? '' : `:${port}`
}
