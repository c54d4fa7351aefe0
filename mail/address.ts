// Mail addresses as the envelope carries them: pure text functions, no parsing of header fields.

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
  const ascii = toAscii(lower)
  return ascii === '' ? lower : ascii
}

function toAscii(domain: string): string {
  try {
    return new URL(`http://${domain}/`).hostname
  } catch {
    return ''
  }
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
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(address) || /^[0-9a-f.:]*:[0-9a-f.:]*$/i.test(address) ? address : null
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
