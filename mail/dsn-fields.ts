// The fields of a delivery status (RFC 3464 section 2, RFC 6533 section 3): of the message, then a group for each recipient.

import { isAscii } from './address.ts'
import type { Report, ReportRecipient } from './dsn.ts'
import { formatReply, printable } from './reply.ts'
import { dateTime } from './trace.ts'
import { decodeXtext } from './xtext.ts'

/** `global`: message/global-delivery-status, where values may be UTF-8. */
export function statusFields(report: Report, global: boolean): string[] {
  const { hostname, envid, arrivedAt, receivedFrom } = report
  const field = fieldWriter(global)
  const ofMessage = [
    field('Reporting-MTA', `dns; ${hostname}`),
    ...(envid === null ? [] : [field('Original-Envelope-Id', decodeXtext(envid))]),
    ...(receivedFrom === null ? [] : [field('Received-From-MTA', `dns; ${receivedFrom}`)]),
    field('X-Everpost-Queue-ID', report.id),
    field('Arrival-Date', dateTime(arrivedAt)),
    '',
  ]
  return [...ofMessage, ...report.recipients.flatMap((recipient) => [...recipientFields(recipient, global), ''])]
}

function recipientFields(recipient: ReportRecipient, global: boolean): string[] {
  const { forwardPath, orcpt, action, status, reply, remoteHost, lastAttemptAt, willRetryUntil } = recipient
  const field = fieldWriter(global)
  const diagnostic = reply ? `smtp; ${formatReply(reply)}` : `X-Everpost; ${recipient.text}`
  return [
    ...(orcpt === null ? [] : [field('Original-Recipient', originalRecipient(orcpt, global))]),
    field('Final-Recipient', finalRecipient(forwardPath, global)),
    field('Action', action),
    field('Status', status),
    ...(remoteHost === null ? [] : [field('Remote-MTA', `dns; ${remoteHost}`)]),
    field('Diagnostic-Code', diagnostic),
    ...(lastAttemptAt ? [field('Last-Attempt-Date', dateTime(lastAttemptAt))] : []),
    ...(willRetryUntil ? [field('Will-Retry-Until', dateTime(willRetryUntil))] : []),
  ]
}

/** RFC 6533 section 3: an address beyond ASCII is of type utf-8; where only ASCII may stand, its characters are \x{...}. */
function finalRecipient(address: string, global: boolean): string {
  if (isAscii(address)) return `rfc822; ${address}`
  return `utf-8; ${global ? address : escaped(address)}`
}

function originalRecipient(orcpt: string, global: boolean): string {
  const [type = '', ...rest] = orcpt.split(';')
  const address = decodeXtext(rest.join(';'))
  if (type.toLowerCase() !== 'utf-8') return `${type}; ${address}`
  return `${type}; ${global ? address.replace(/\\x\{([0-9A-Fa-f]{2,6})\}/g, (_, hex: string) => character(hex)) : escaped(address)}`
}

function escaped(address: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII is the point
  return address.replace(/[^\x00-\x7f]/gu, (each) => `\\x{${each.codePointAt(0)!.toString(16).toUpperCase()}}`)
}

function character(hex: string): string {
  const code = Number.parseInt(hex, 16)
  return code > 0x10ffff ? '?' : String.fromCodePoint(code)
}

/** One field on lines of at most 78 columns where blanks allow, never above 998 octets; nothing in the value can end it. */
function fieldWriter(global: boolean): (name: string, value: string) => string {
  return (name, value) => {
    const plain = printable(value).replaceAll('\n', ' ')
    const safe = global ? plain : plain.replace(/[^\x20-\x7e]/g, '?')
    let line = `${name}:`
    const lines: string[] = []
    for (const piece of safe.split(' ').flatMap((word) => word.match(Buffer.byteLength(word) > 900 ? /.{1,225}/gu : /.+/g) ?? [])) {
      if (line.length + piece.length >= 78 && line.length > name.length + 1) {
        lines.push(line)
        line = '   '
      }
      line += ` ${piece}`
    }
    return [...lines, line].join('\r\n')
  }
}
