// Routes: which next hop serves a domain by the operator's word. DNS is not asked here.

import { canonicalDomain, isAddressLiteral, literalAddress } from './address.ts'

/** none: never; may: when offered; encrypt: always, any certificate; verify: always, a certificate that is good for the host. */
export type TlsPolicy = 'none' | 'may' | 'encrypt' | 'verify'

export interface RouteRule {
  /** A domain, `*.domain` for its subdomains, or `*` for every domain. */
  domain: string
  /** `host`, `host:port`, `[host]:port` or `[address]:port`; brackets suppress the MX look-up, as in Postfix. */
  nextHop: string
}

export interface NextHop {
  /** A domain whose MX records say where to go, a host name to be used as it is, or an IP address. */
  name: string
  kind: 'mx' | 'host' | 'address'
  port: number
}

/** Reads a next hop as operators write it. Throws RangeError that says what is wrong with it. */
export function parseNextHop(text: string): NextHop {
  const match = /^(?:\[([^\]]+)\]|([^[\]:\s]+))(?::(\d{1,5}))?$/.exec(text.trim())
  if (!match || canonicalDomain(match[1] ?? match[2]!) === '') throw new RangeError(`"${text}" is not a next hop: write host, host:port, [host]:port or [address]:port`)
  const port = match[3] === undefined ? 25 : Number(match[3])
  if (port < 1 || port > 65535) throw new RangeError(`"${text}": the port must be from 1 to 65535`)
  if (match[2] !== undefined) return { name: canonicalDomain(match[2]), kind: 'mx', port }
  const address = literalAddress(`[${match[1]}]`)
  if (address !== null) return { name: address, kind: 'address', port }
  return { name: canonicalDomain(match[1]!), kind: 'host', port }
}

/**
 * The next hop of a domain: the exact rule, else the longest `*.` rule, else `*`, else the domain itself by MX.
 * A rule with a host name and a port but no brackets is an MX look-up of that name at that port.
 */
export function nextHopOf(domain: string, rules: RouteRule[]): NextHop {
  const rule = routeOf(domain, rules)
  if (rule) return parseNextHop(rule.nextHop)
  if (isAddressLiteral(domain)) {
    return { name: literalAddress(domain) ?? domain, kind: 'address', port: 25 }
  }
  return { name: canonicalDomain(domain), kind: 'mx', port: 25 }
}

/** The rule that serves a domain; undefined when DNS says where its mail goes. */
export function routeOf(domain: string, rules: RouteRule[]): RouteRule | undefined {
  const byDomain = index(rules)
  const canonical = canonicalDomain(domain)
  const exact = byDomain.get(canonical)
  if (exact) return exact
  const labels = canonical.split('.')
  for (let i = 1; i < labels.length; i++) {
    const rule = byDomain.get(`*.${labels.slice(i).join('.')}`)
    if (rule) return rule
  }
  return byDomain.get('*')
}

/** Rules by canonical domain, made once for a list: a message to a thousand recipients asks a thousand times. */
function index(rules: RouteRule[]): Map<string, RouteRule> {
  const known = indexes.get(rules)
  if (known?.length === rules.length) return known.byDomain
  const byDomain = new Map(rules.map((rule) => [canonicalDomain(rule.domain), rule]))
  indexes.set(rules, { length: rules.length, byDomain })
  return byDomain
}

const indexes = new WeakMap<RouteRule[], { length: number; byDomain: Map<string, RouteRule> }>()

/** The name of the delivery agent that serves a local domain, as groups, logs and listings have it: `maildir:example.test`, `lmtp:[host]:24`. */
export function localNextHop(domain: string, agent: { deliver: string; host?: string; port?: number }): string {
  return agent.deliver === 'lmtp' ? `lmtp:[${agent.host}]:${agent.port}` : `${agent.deliver}:${domain}`
}

/** The form that names a next hop in groups, logs and listings: recipients with equal keys share a transaction. */
export function nextHopKey(hop: NextHop): string {
  const name = hop.kind === 'mx' ? hop.name : `[${hop.name}]`
  return `${name}${hop.port === 25 ? '' : `:${hop.port}`}`
}
