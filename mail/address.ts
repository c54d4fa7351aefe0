// Mail addresses as the envelope carries them, and the paths of MAIL and RCPT: pure text functions, no parsing of header fields.

/** An envelope address split at its last unquoted "@" (RFC 5321 section 4.1.2). */
export interface Mailbox {
  /** As it was sent, quotes included. */
  localPart: string
  /** As it was sent; "" for the bare `postmaster` of RFC 5321 section 4.1.1.3. */
  domain: string
}

/** Splits `local@domain`. The domain begins after the last "@", because a quoted local part may hold one. */
export function splitAddress(address: string): Mailbox {
  const at = address.lastIndexOf('@')
  return at < 0
    ? { localPart: address, domain: '' }
    : { localPart: address.slice(0, at), domain: address.slice(at + 1) }
}

/** The domain in the form used to compare and to look up: lower case, A-labels, no trailing dot. */
export function canonicalDomain(domain: string): string {
  const lower = domain.toLowerCase().replace(/\.+$/, '')
  if (isAddressLiteral(lower) || isAscii(lower)) return lower
  // The URL parser is the only IDNA (UTS 46) implementation that every JavaScript runtime carries.
  // What means something else to it is no domain, and stays as it is.
  const ascii = /[\s\\/?#@:%[\]]/.test(lower) ? '' : toAscii(lower).replace(/\.+$/, '')
  return ascii === '' ? lower : ascii
}

function toAscii(domain: string): string {
  try {
    return new URL(`http://${domain}/`).hostname
  } catch {
    return ''
  }
}

/** The address with its domain as A-labels, where that makes all of it ASCII; else as it is: a local part cannot be made so (RFC 6531 section 3.1). */
export function asciiAddress(address: string): string {
  const { localPart, domain } = splitAddress(address)
  const made = `${localPart}@${canonicalDomain(domain)}`
  return !isAscii(address) && isAscii(made) ? made : address
}

export function domainOf(address: string): string {
  return canonicalDomain(splitAddress(address).domain)
}

/** `[127.0.0.1]` or `[IPv6:::1]` (RFC 5321 section 4.1.3). */
export function isAddressLiteral(domain: string): boolean {
  return domain.startsWith('[') && domain.endsWith(']')
}

/** The bare IP address of a literal, or null when it holds no IP address. */
export function literalAddress(domain: string): string | null {
  const inner = domain.slice(1, -1)
  const address = inner.replace(/^ipv6:/i, '')
  return isIpv4(address) || isIpv6(address) ? address : null
}

function isIpv4(text: string): boolean {
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(text) && text.split('.').every((octet) => Number(octet) <= 255)
}

function isIpv6(text: string): boolean {
  return /^[0-9a-f.:]*:[0-9a-f.:]*$/i.test(text) && toAscii(`[${text}]`) !== ''
}

export function isAscii(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII is the point
  return /^[\x00-\x7f]*$/.test(text)
}

/** The local part without quotes and backslashes, for comparing and for expanding `{localpart}`. */
export function unquotedLocalPart(localPart: string): string {
  if (!(localPart.startsWith('"') && localPart.endsWith('"') && localPart.length > 1)) return localPart
  return localPart.slice(1, -1).replace(/\\(.)/g, '$1')
}

/** An address of ours in the form that is compared: without case and quotes, its domain canonical. */
export function comparable(address: string): string {
  const { localPart, domain } = splitAddress(address)
  return `${unquotedLocalPart(localPart).toLowerCase()}@${canonicalDomain(domain)}`
}

/** The local part without its subaddress: `alice` of `alice+news`. An empty delimiter separates nothing. */
export function withoutTag(localPart: string, delimiter: string): string {
  const at = delimiter === '' ? -1 : localPart.indexOf(delimiter)
  return at > 0 ? localPart.slice(0, at) : localPart
}

/** A forward-path or reverse-path that was read, and what follows its ">"; or why it is none, for the text of a reply. */
export type PathResult = { address: string; rest: string } | { problem: string }

const beyondAscii = '\\u{a0}-\\u{10ffff}'
const atoms = `[A-Za-z0-9!#$%&'*+/=?^_\`{|}~${beyondAscii}-]+`
const localPart = `(?:${atoms}(?:\\.${atoms})*|"(?:[ !#-\\[\\]-~${beyondAscii}]|\\\\[ -~])*")`
const nameText = `[A-Za-z0-9._${beyondAscii}-]+`
const domainText = `(?:${nameText}|\\[[A-Za-z0-9:.]+\\])`
const domainForm = new RegExp(`^${nameText}$`, 'u')
const pathForm = new RegExp(`^<(?:(@${domainText}(?:,@${domainText})*):)?(${localPart})@(${domainText})>`, 'u')

/** RFC 5321 section 4.5.3.1.1 asks for 64 octets and for no limit where that is possible: variable reverse-paths (VERP, SRS) are longer. */
const longestLocalPart = 255

/**
 * Reads a path at the beginning of `text` (RFC 5321 section 4.1.2, RFC 6531 section 3.3). The address comes without brackets
 * and source route, else as it was sent; "" is the null reverse-path, `postmaster` alone is allowed. The domain has at
 * most 255 octets (section 4.5.3.1.2). "_" in a domain is let through, since hosts have such names.
 */
export function parsePath(text: string): PathResult {
  const bare = /^<(|postmaster)>/i.exec(text)
  if (bare) return { address: bare[1]!, rest: text.slice(bare[0].length) }
  const match = pathForm.exec(text)
  if (!match) return { problem: text.startsWith('<') ? 'The address is not well formed' : 'The address belongs between < and >' }
  const [whole, route, local, domain] = match as unknown as [string, string | undefined, string, string]
  if (octets(local) > longestLocalPart) return { problem: `The local part is longer than ${longestLocalPart} octets` }
  const problem = [domain, ...(route?.split(',').map((each) => each.slice(1)) ?? [])].map(domainProblem).find((found) => found !== null)
  return problem ? { problem } : { address: `${local}@${domain}`, rest: text.slice(whole.length) }
}

/** Whether it is a domain or a host name as a path may hold one, "_" let through as there. */
export function isDomain(text: string): boolean {
  return domainForm.test(text) && domainProblem(text) === null
}

function domainProblem(domain: string): string | null {
  if (octets(domain) > 255) return 'The domain is longer than 255 octets'
  if (isAddressLiteral(domain)) {
    const address = literalAddress(domain)
    return address !== null && /^\[ipv6:/i.test(domain) === address.includes(':') ? null : 'The address literal holds no IP address'
  }
  const labels = domain.split('.')
  if (labels.some((label) => label === '' || label.startsWith('-') || label.endsWith('-') || octets(label) > 63)) return 'The domain is not well formed'
  return isAscii(domain) || toAscii(domain) !== '' ? null : 'The domain is not well formed'
}

const encoder = new TextEncoder()
function octets(text: string): number {
  return encoder.encode(text).length
}
