// Routes: which next hop serves a domain by the operator's word. DNS is not asked here.

import { canonicalDomain, isAddressLiteral, literalAddress } from './address.ts'

/** none: never; may: when offered; encrypt: always, any certificate; verify: always, a certificate that is good for the host. */
export type TlsPolicy = 'none' | 'may' | 'encrypt' | 'verify'

export interface RouteRule {
  /** A domain, `*.domain` for its subdomains, or `*` for every domain. */
  domain: string
  /** `host`, `host:port`, `[host]:port` or `[address]:port`; brackets suppress the MX look-up, as in Postfix. `lmtp:[host]:port` or `lmtp:unix:/path`: by LMTP. */
  nextHop: string
}

export interface NextHop {
  protocol: 'smtp' | 'lmtp'
  /** A domain whose MX records say where to go, a host name to be used as it is, an IP address, or the path of a Unix socket. */
  name: string
  kind: 'mx' | 'host' | 'address' | 'socket'
  /** 0 for a Unix socket. */
  port: number
}

/** Octets that the path of a Unix socket may have (sockaddr_un, without its NUL). Of a longer one the system takes the beginning. */
export const longestSocketPath = 107

export function fitsSocket(path: string): boolean {
  return new TextEncoder().encode(path).length <= longestSocketPath
}

/** Whether what stands for the address of a host is the path of a Unix socket. Never to be asked of a name: DNS may hold any. */
export function isSocketPath(address: string): boolean {
  return address.startsWith('/')
}

/** Reads a next hop as operators write it. Throws RangeError that says what is wrong with it. */
export function parseNextHop(text: string): NextHop {
  const [, lmtp, rest] = /^(lmtp:)?(.*)$/s.exec(text.trim()) as unknown as [string, string | undefined, string]
  if (lmtp) return parseLmtp(rest, text)
  const match = /^(?:\[([^\]]+)\]|([^[\]:\s]+))(?::(\d{1,5}))?$/.exec(rest)
  if (!match || canonicalDomain(match[1] ?? match[2]!) === '') {
    throw new RangeError(`"${text}" is not a next hop: write host, host:port, [host]:port, [address]:port, lmtp:[host]:port or lmtp:unix:/path`)
  }
  const port = match[3] === undefined ? 25 : Number(match[3])
  if (port < 1 || port > 65535) throw new RangeError(`"${text}": the port must be from 1 to 65535`)
  const protocol = 'smtp'
  if (match[2] !== undefined) return { protocol, name: canonicalDomain(match[2]), kind: 'mx', port }
  const address = literalAddress(`[${match[1]}]`)
  if (address !== null) return { protocol, name: address, kind: 'address', port }
  return { protocol, name: canonicalDomain(match[1]!), kind: 'host', port }
}

/** LMTP has no port of its own, and knows no MX (RFC 2033 section 5). */
function parseLmtp(rest: string, text: string): NextHop {
  const path = /^unix:(\/\S+)$/.exec(rest)?.[1]
  if (path && !fitsSocket(path)) throw new RangeError(`"${text}": the path of a Unix socket has at most ${longestSocketPath} octets`)
  if (path) return { protocol: 'lmtp', name: path, kind: 'socket', port: 0 }
  if (!/^\[[^\]]+\]:\d+$/.test(rest)) throw new RangeError(`"${text}" is not a next hop: write lmtp:[host]:port or lmtp:unix:/path`)
  return { ...parseNextHop(rest), protocol: 'lmtp' }
}

/**
 * The next hop of a domain: the exact rule, else the longest `*.` rule, else `*`, else the domain itself by MX.
 * A rule with a host name and a port but no brackets is an MX look-up of that name at that port.
 */
export function nextHopOf(domain: string, rules: RouteRule[]): NextHop {
  const rule = routeOf(domain, rules)
  if (rule) return parseNextHop(rule.nextHop)
  if (isAddressLiteral(domain)) {
    return { protocol: 'smtp', name: literalAddress(domain) ?? domain, kind: 'address', port: 25 }
  }
  return { protocol: 'smtp', name: canonicalDomain(domain), kind: 'mx', port: 25 }
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

/** Where a local domain is delivered, as the settings have it. */
export interface Agent {
  deliver: string
  host?: string | undefined
  port?: number | undefined
  /** Of LMTP: a Unix socket in place of host and port. */
  path?: string | undefined
}

/** The name of the delivery agent that serves a local domain, as groups, logs and listings have it: `maildir:example.test`, `lmtp:[host]:24`, `lmtp:unix:/path`. */
export function localNextHop(domain: string, { deliver, host, port, path }: Agent): string {
  if (deliver !== 'lmtp') return `${deliver}:${domain}`
  return path === undefined ? `lmtp:[${host}]:${port}` : `lmtp:unix:${path}`
}

/** The form that names a next hop in groups, logs and listings: recipients with equal keys share a transaction. */
export function nextHopKey(hop: NextHop): string {
  if (hop.kind === 'socket') return `lmtp:unix:${hop.name}`
  const name = hop.kind === 'mx' ? hop.name : `[${hop.name}]`
  return hop.protocol === 'lmtp' ? `lmtp:${name}:${hop.port}` : `${name}${hop.port === 25 ? '' : `:${hop.port}`}`
}
