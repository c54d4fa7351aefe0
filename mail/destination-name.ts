// Reads the names of destinations as operators type them.

import { canonicalDomain, isDomain } from './address.ts'
import { hostsNamed, nameOfHosts } from './destination.ts'
import { localNextHop, type NextHop, nextHopKey, parseNextHop } from './route.ts'

const looks = 'A name is a domain or a next hop (partner.test, relay.test:587, [relay.test]:587, [10.0.0.1]), the hosts of its MX (mx1.partner.test,mx2.partner.test), '
  + 'a provider (google) or a delivery agent (maildir:example.test, lmtp:[127.0.0.1]:24, lmtp:unix:/run/lmtp)'

/**
 * The name of a destination, or of a next hop, in the form that `destinationOf`, `nextHopKey` and `localNextHop` give. Throws RangeError
 * for what could be none; it says what a name looks like. Settings may call a provider anything: that is for the caller to know.
 */
export function parseDestination(text: string): string {
  const name = agentName(text) ?? mxName(text) ?? hopName(text)
  if (name === null) throw new RangeError(`"${text}" can be no destination. ${looks}`)
  return name
}

/** A delivery agent of a domain: `maildir:example.test`. An LMTP server is a next hop. */
function agentName(text: string): string | null {
  const [, agent = '', rest = ''] = /^(maildir|pipe):(.+)$/i.exec(text) ?? []
  const domain = canonicalDomain(rest)
  return isDomain(domain) ? localNextHop(domain, { deliver: agent.toLowerCase() }) : null
}

/** Several hosts of an MX: `mx1.partner.test,mx2.partner.test`, `a,b,c,d,+2:2525`. */
function mxName(text: string): string | null {
  const [, list = '', more, port = '25'] = /^([^:]+?,[^:]+?)(?:,\+([1-9]\d*))?(?::(\d+))?$/.exec(text) ?? []
  const hosts = [...new Set(list.split(',').map(canonicalDomain))]
  const hop = readHop(`${hosts[0]}:${port}`)
  if (!hop || !hosts.every(isDomain) || (more !== undefined && hosts.length !== hostsNamed)) return null
  return nameOfHosts(hosts, Number(more ?? 0), hop)
}

function hopName(text: string): string | null {
  const hop = readHop(text.replace(/^lmtp:(unix:)?/i, (word) => word.toLowerCase()))
  return hop && nextHopKey(hop)
}

function readHop(text: string): NextHop | null {
  try {
    const hop = parseNextHop(text)
    return hop.kind === 'address' || hop.kind === 'socket' || isDomain(hop.name) ? hop : null
  } catch {
    return null
  }
}
