// Trace fields: Received and Return-Path (RFC 5321 section 4.4). Whatever a client said of itself is made safe here.

import { asciiAddress } from './address.ts'
import type { Origin } from './envelope.ts'

export interface Traced {
  id: string
  origin: Origin
  /** Named in the field only when there is exactly one, so that recipients do not learn of each other. */
  recipients: string[]
  acceptedAt: Date
}

/** The Received field that we prepend, with its line ends. `with` words as in RFC 3848; TLS in a comment; no user name. */
export function receivedField({ id, origin, recipients, acceptedAt }: Traced, hostname: string): string {
  const parts: string[] = []
  if (origin.protocol !== '') {
    parts.push(`from ${word(origin.helo) || 'unknown'} (${word(origin.clientName ?? '') || 'unknown'} ${literal(origin.clientAddress)})`)
    if (origin.tls) parts.push(`(using ${word(origin.tls.version)} with cipher ${word(origin.tls.cipher)})`)
  }
  parts.push(`by ${hostname} (Everpost)${origin.protocol === '' ? '' : ` with ${origin.protocol}`} id ${id}`)
  // As A-labels, since a host without SMTPUTF8 takes such a recipient, but no header section that is not ASCII.
  const only = asciiAddress(recipients[0] ?? '')
  // An address that would not fit a line, or holds what a field may not, is left out rather than mended.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: keeping them out is the point
  if (recipients.length === 1 && /^[^\s\x00-\x1f\x7f<>]{1,300}$/.test(only)) parts.push(`for <${only}>`)
  return `Received: ${parts.join('\r\n\t')};\r\n\t${dateTime(acceptedAt)}\r\n`
}

/** A host name or an address literal; what such a one may not hold becomes "?". */
function word(text: string): string {
  const kept = text.slice(0, 255)
  return /^\[.*\]$/s.test(kept) ? `[${kept.slice(1, -1).replace(/[^A-Za-z0-9.:-]/g, '?')}]` : kept.replace(/[^A-Za-z0-9._-]/g, '?')
}

function literal(address: string): string {
  return word(`[${address.includes(':') ? 'IPv6:' : ''}${address}]`)
}

export function returnPathField(reversePath: string): string {
  return `Return-Path: <${asciiAddress(reversePath)}>\r\n`
}

/** RFC 5322 section 3.3, in UTC. */
export function dateTime(at: Date): string {
  return at.toUTCString().replace('GMT', '+0000')
}
