// Delivery status notifications as whole messages (RFC 3464, RFC 6522). Pure: data in, octets out. Written by hand, since a
// report is a fixed form of few lines, and a general MIME composer folds and encodes what must stay as it is.

import { isAscii } from './address.ts'
import { formatReply, printable, type Reply } from './reply.ts'
import { dateTime } from './trace.ts'

export interface ReportRecipient {
  forwardPath: string
  /** `addr-type;xtext` as the client gave it. */
  orcpt: string | null
  action: 'failed' | 'delayed' | 'delivered' | 'relayed' | 'expanded'
  /** Enhanced status code. */
  status: string
  reply: Reply | null
  remoteHost: string | null
  /** One line for people. */
  text: string
  lastAttemptAt: Date | null
  willRetryUntil: Date | null
}

export interface Report {
  /** Queue id of the message reported on. */
  id: string
  dsnId: string
  hostname: string
  /** The reverse-path that it goes to. */
  to: string
  /** ENVID as xtext (RFC 3461 section 4.4). */
  envid: string | null
  arrivedAt: Date
  at: Date
  receivedFrom: string | null
  recipients: ReportRecipient[]
  /** The header section of the original. */
  original: Uint8Array
}

/** A message with CRLF line ends, 7-bit throughout. */
export function composeReport(report: Report): Uint8Array {
  const boundary = `${report.dsnId}/${report.hostname}`
  const messageId = /^message-id:[ \t]*(?:\r\n[ \t]+)?(<[\x21-\x7e]{1,250}>)/im.exec(latin1(report.original))?.[1]
  const lines = [
    `From: Mail Delivery System <MAILER-DAEMON@${report.hostname}>`,
    // What a field may not hold, or a line not carry, is left out rather than mended: the envelope has the address.
    `To: ${/^[\x21-\x7e]{1,900}$/.test(report.to) ? `<${report.to}>` : 'undisclosed-recipients:;'}`,
    'Subject: Undelivered Mail Returned to Sender',
    `Date: ${dateTime(report.at)}`,
    `Message-ID: <${report.dsnId}@${report.hostname}>`,
    ...(messageId ? [`In-Reply-To: ${messageId}`, `References: ${messageId}`] : []),
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    `Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="${boundary}"`,
    '',
    `--${boundary}`,
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: base64',
    'Content-Description: Notification',
    '',
    base64(Buffer.from(explanation(report))),
    `--${boundary}`,
    'Content-Type: message/delivery-status',
    'Content-Description: Delivery report',
    '',
    ...statusFields(report),
    `--${boundary}`,
    'Content-Type: text/rfc822-headers',
    ...originalPart(report.original),
    `--${boundary}--`,
    '',
  ]
  return Buffer.from(lines.join('\r\n'))
}

function explanation({ hostname, id, arrivedAt, recipients }: Report): string {
  return [
    `This is the mail system at ${hostname}.`,
    '',
    `Your message of ${dateTime(arrivedAt)} could not be delivered to the`,
    'recipients below. It is not tried again; each line says why.',
    '',
    ...recipients.flatMap((recipient) => [`<${printable(recipient.forwardPath)}>`, `    ${printable(recipient.text)}`, '']),
    'Check the address and the reason given. For help, ask your postmaster and',
    `name the message's queue id: ${id}`,
    '',
  ].join('\r\n')
}

/** RFC 3464 section 2: fields of the message, then a group for each recipient. */
function statusFields(report: Report): string[] {
  const { hostname, envid, arrivedAt, receivedFrom } = report
  const ofMessage = [
    field('Reporting-MTA', `dns; ${hostname}`),
    ...(envid === null ? [] : [field('Original-Envelope-Id', decodeXtext(envid))]),
    ...(receivedFrom === null ? [] : [field('Received-From-MTA', `dns; ${receivedFrom}`)]),
    field('X-Everpost-Queue-ID', report.id),
    field('Arrival-Date', dateTime(arrivedAt)),
    '',
  ]
  return [...ofMessage, ...report.recipients.flatMap((recipient) => [...recipientFields(recipient), ''])]
}

function recipientFields(recipient: ReportRecipient): string[] {
  const { forwardPath, orcpt, action, status, reply, remoteHost, lastAttemptAt, willRetryUntil } = recipient
  const [type, ...original] = orcpt?.split(';') ?? []
  const diagnostic = reply ? `smtp; ${formatReply(reply)}` : `X-Everpost; ${recipient.text}`
  return [
    ...(type ? [field('Original-Recipient', `${type}; ${decodeXtext(original.join(';'))}`)] : []),
    field('Final-Recipient', `rfc822; ${forwardPath}`),
    field('Action', action),
    field('Status', status),
    ...(remoteHost === null ? [] : [field('Remote-MTA', `dns; ${remoteHost}`)]),
    field('Diagnostic-Code', diagnostic),
    ...(lastAttemptAt ? [field('Last-Attempt-Date', dateTime(lastAttemptAt))] : []),
    ...(willRetryUntil ? [field('Will-Retry-Until', dateTime(willRetryUntil))] : []),
  ]
}

/** One field on ASCII lines of at most 78 columns where blanks allow, never above 998; nothing in the value can end it. */
function field(name: string, value: string): string {
  const safe = printable(value).replaceAll('\n', ' ').replace(/[^\x20-\x7e]/g, '?').slice(0, 4000)
  let line = `${name}:`
  const lines: string[] = []
  for (const piece of safe.split(' ').flatMap((part) => part.match(/.{1,900}/g) ?? [])) {
    if (line.length + piece.length >= 78 && line.length > name.length + 1) {
      lines.push(line)
      line = '   '
    }
    line += ` ${piece}`
  }
  return [...lines, line].join('\r\n')
}

function originalPart(original: Uint8Array): string[] {
  const text = latin1(original)
  const plain = isAscii(text) && text.split('\r\n').every((line) => line.length <= 998)
  if (plain) return ['Content-Description: Undelivered message headers', '', text]
  return ['Content-Description: Undelivered message headers', 'Content-Transfer-Encoding: base64', '', base64(original)]
}

function base64(octets: Uint8Array): string {
  return (Buffer.from(octets).toString('base64').match(/.{1,76}/g) ?? []).join('\r\n')
}

function latin1(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString('latin1')
}

/** RFC 3461 section 4: `+` and two hex digits stand for an octet. */
function decodeXtext(text: string): string {
  return text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
