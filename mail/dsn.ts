// Delivery status notifications as whole messages (RFC 3464, RFC 6522, RFC 6533). Pure: data in, octets out. Written by hand,
// since a report is a fixed form of few lines, and a general MIME composer folds and encodes what must stay as it is.

import { isAscii } from './address.ts'
import { statusFields } from './dsn-fields.ts'
import { explanation } from './dsn-text.ts'
import type { Reply } from './reply.ts'
import type { ReportTexts } from './report-texts.ts'
import { dateTime } from './trace.ts'

export interface ReportRecipient {
  forwardPath: string
  /** `addr-type;xtext` as the client gave it. */
  orcpt: string | null
  action: 'failed' | 'delayed' | 'delivered' | 'relayed' | 'expanded'
  /** Enhanced status code. */
  status: string
  /** The queue lifetime ended: a failure that need not be for good. */
  expired: boolean
  reply: Reply | null
  remoteHost: string | null
  /** One line for people. */
  text: string
  lastAttemptAt: Date | null
  willRetryUntil: Date | null
}

export type ReportEvent = 'failed' | 'delayed' | 'succeeded'

export interface Report {
  event: ReportEvent
  /** To the postmaster, since the message has no sender. */
  toPostmaster: boolean
  /** Queue id of the message reported on. */
  id: string
  dsnId: string
  hostname: string
  /** The address that it goes to. */
  to: string
  /** ENVID as xtext (RFC 3461 section 4.4). */
  envid: string | null
  arrivedAt: Date
  /** Until when what is delayed is tried. */
  triedUntil: Date
  at: Date
  receivedFrom: string | null
  recipients: ReportRecipient[]
  /** The header section of the original. */
  original: Uint8Array
  /** The whole original goes between `head` and `tail`; `eightBit`: it may hold octets above 127. Null: its headers alone. */
  full: { eightBit: boolean } | null
  /** Whether the original came with SMTPUTF8. */
  smtpUtf8: boolean
  texts: ReportTexts
}

export interface ComposedReport {
  head: Uint8Array
  tail: Uint8Array
  body: '7BIT' | '8BITMIME'
  smtpUtf8: boolean
}

/**
 * A message with CRLF line ends: `head`, the whole original where it is returned in full, `tail`. It is 7-bit throughout, unless
 * the original was internationalised (RFC 6533), and really holds what ASCII cannot say, or is returned in full and 8-bit.
 */
export function composeReport(report: Report): ComposedReport {
  const { event, full, original, to, texts, dsnId, hostname } = report
  const header = utf8(original)
  const global = report.smtpUtf8 && [to, ...report.recipients.map((r) => r.forwardPath), header].some((text) => !isAscii(text))
  const eightBit = global || (full?.eightBit ?? false)
  const messageId = /^message-id:[ \t]*(?:\r\n[ \t]+)?(<[\x21-\x7e]{1,250}>)/im.exec(header)?.[1]
  const subject = report.toPostmaster ? texts.subjectPostmaster : { failed: texts.subjectFailed, delayed: texts.subjectDelayed, succeeded: texts.subjectSucceeded }[event]
  const encoding = eightBit ? ['Content-Transfer-Encoding: 8bit'] : []
  const lines = [
    `From: Mail Delivery System <MAILER-DAEMON@${hostname}>`,
    // What a field may not hold, or a line not carry, is left out rather than mended: the envelope has the address.
    `To: ${(global ? /^[^\s\p{Cc}]{1,400}$/u : /^[\x21-\x7e]{1,900}$/).test(to) ? `<${to}>` : 'undisclosed-recipients:;'}`,
    `Subject: ${encodedWord(subject)}`,
    `Date: ${dateTime(report.at)}`,
    `Message-ID: <${dsnId}@${hostname}>`,
    ...(messageId ? [`In-Reply-To: ${messageId}`, `References: ${messageId}`] : []),
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    `Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="${dsnId}"`,
    ...encoding,
    '',
    `--${dsnId}`,
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: base64',
    'Content-Description: Notification',
    '',
    base64(Buffer.from(explanation(report))),
    `--${dsnId}`,
    `Content-Type: message/${global ? 'global-delivery-status' : 'delivery-status'}`,
    ...(global ? ['Content-Transfer-Encoding: 8bit'] : []),
    'Content-Description: Delivery report',
    '',
    ...statusFields(report, global),
    `--${dsnId}`,
    ...(full ? fullPart(global, eightBit) : headerPart(original, global)),
  ]
  const head = Buffer.from(`${lines.join('\r\n')}${full ? '\r\n' : ''}`)
  return { head, tail: Buffer.from(`\r\n--${dsnId}--\r\n`), body: eightBit ? '8BITMIME' : '7BIT', smtpUtf8: global }
}

function fullPart(global: boolean, eightBit: boolean): string[] {
  return [
    `Content-Type: message/${global ? 'global' : 'rfc822'}`, ...(eightBit ? ['Content-Transfer-Encoding: 8bit'] : []),
    'Content-Description: Undelivered message', '',
  ]
}

/**
 * The last part, where the header fields alone go back. In base64 what lines cannot carry, such as a bare LF that came by BINARYMIME: sent
 * as it is, the next host might see in it the end of the message.
 */
export function headerPart(original: Uint8Array, global: boolean): string[] {
  const description = 'Content-Description: Undelivered message headers'
  const text = utf8(original)
  const isLines = !/\0|\r(?!\n)|(?<!\r)\n/.test(text) && text.split('\r\n').every((line) => Buffer.byteLength(line) <= 998)
  if (global && isLines && !text.includes('\ufffd')) {
    return ['Content-Type: message/global-headers', 'Content-Transfer-Encoding: 8bit', description, '', text]
  }
  if (isLines && isAscii(text)) return ['Content-Type: text/rfc822-headers', description, '', text]
  return ['Content-Type: text/rfc822-headers', 'Content-Transfer-Encoding: base64', description, '', base64(original)]
}

function base64(octets: Uint8Array): string {
  return (Buffer.from(octets).toString('base64').match(/.{1,76}/g) ?? []).join('\r\n')
}

function utf8(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString('utf8')
}

/** RFC 2047: ASCII as it is, else one encoded word for each 9 characters, whose line is short enough in any script. */
function encodedWord(text: string): string {
  if (isAscii(text)) return text
  const pieces = [...text].reduce<string[]>((words, character, i) => {
    if (i % 9 === 0) words.push('')
    words[words.length - 1] += character
    return words
  }, [])
  return pieces.map((piece) => `=?utf-8?B?${Buffer.from(piece).toString('base64')}?=`).join('\r\n ')
}
