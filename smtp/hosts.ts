// The hosts of a next hop, in the order to try them (RFC 5321 section 5.1, RFC 7505).

import { canonicalDomain } from '../mail/address.ts'
import type { Outcome } from '../mail/outcome.ts'
import type { NextHop } from '../mail/route.ts'
import { onDns } from '../mail/verdict.ts'
import type { Dns } from './dns.ts'

export type Hosts = { kind: 'hosts'; hosts: string[] } | { kind: 'outcome'; outcome: Outcome }

/** MX hosts looked at: a domain that lists hundreds would cost an attempt hours. */
const mostHosts = 20

/** `self` is this MTA: its name among the MXs, and all that are no better, are left out, so that mail cannot loop. */
export async function resolveHosts(hop: Omit<NextHop, 'protocol'>, dns: Dns, self: { hostname: string }): Promise<Hosts> {
  if (hop.kind !== 'mx') return { kind: 'hosts', hosts: [hop.name] }
  const answer = await dns.mx(hop.name)
  if (answer.kind === 'failed') return outcome(onDns.failed(hop.name, answer.problem))
  if (answer.kind === 'no-domain') return outcome(onDns.noDomain(hop.name))
  if (answer.kind === 'no-data') return await implicitMx(hop.name, dns)
  const listed = answer.records.map((record) => ({ ...record, exchange: canonicalDomain(record.exchange) }))
  const named = listed.filter((record) => record.exchange !== '')
  if (named.length === 0) return outcome(onDns.nullMx(hop.name))
  const own = Math.min(...named.filter((record) => record.exchange === canonicalDomain(self.hostname)).map((record) => record.preference))
  const better = named.filter((record) => record.preference < own)
  if (better.length === 0) return outcome(onDns.loop(hop.name))
  // Shuffled within a preference, to spread the load (section 5.1).
  const order = better.map((record) => ({ ...record, chance: Math.random() })).sort((a, b) => a.preference - b.preference || a.chance - b.chance)
  return { kind: 'hosts', hosts: [...new Set(order.map((record) => record.exchange))].slice(0, mostHosts) }
}

/** Without MX records the domain is its own mail host, if it has an address. */
async function implicitMx(domain: string, dns: Dns): Promise<Hosts> {
  const addresses = await dns.addresses(domain)
  if (addresses.kind === 'found') return { kind: 'hosts', hosts: [domain] }
  return outcome(addresses.kind === 'failed' ? onDns.failed(domain, addresses.problem) : onDns.noHost(domain))
}

function outcome(of: Outcome): Hosts {
  return { kind: 'outcome', outcome: of }
}
