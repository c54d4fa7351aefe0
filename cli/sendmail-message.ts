// A message as a program writes it to sendmail, made ready for SMTP: CRLF line ends, its recipients found, missing fields added.

import addressparser from 'nodemailer/lib/addressparser'
import { fieldsInFront } from '../ingress/submission.ts'
import type { SendmailOptions } from './sendmail-arguments.ts'

export interface MessageContext extends Pick<SendmailOptions, 'recipients' | 'fromMessage' | 'ignoreDots' | 'fullName'> {
  from: string
  hostname: string
  /** Completes addresses without a domain. */
  domain: string
  /** Becomes the Message-ID's left side, where one is missing. */
  id: string
  now: Date
}

export function prepareMessage(input: Buffer, context: MessageContext): { octets: Buffer; recipients: string[] } {
  const complete = (address: string) => (address.includes('@') ? address : `${address}@${context.domain}`)
  let text = input.toString('latin1').replace(/\r?\n/g, '\r\n')
  if (!context.ignoreDots) text = text.replace(/(^|\r\n)\.\r\n.*$/s, '$1')
  if (text !== '' && !text.endsWith('\r\n')) text += '\r\n'
  const end = text.startsWith('\r\n') ? 0 : text.indexOf('\r\n\r\n') + 2
  const header = end === 1 ? text : text.slice(0, end)
  // A field with the lines that continue it.
  const fields = header.match(/^[!-9;-~]+[ \t]*:.*\r\n(?:[ \t].*\r\n)*/gm) ?? []
  const isNamed = (field: string, names: RegExp) => names.test(field.slice(0, field.indexOf(':')).trim())
  const textOf = (field: string) => Buffer.from(field.slice(field.indexOf(':') + 1).replace(/\r\n/g, ''), 'latin1').toString('utf8').trim()

  const recipients = context.recipients.map(complete)
  let kept = text
  if (context.fromMessage) {
    const named = fields.filter((field) => isNamed(field, /^(to|cc|bcc)$/i)).flatMap((field) => addressparser(textOf(field), { flatten: true }))
    // `To: root`: a word alone is a local name.
    const addresses = named.map(({ address, name }) => address || (/^[^\s@]+$/.test(name) ? name : ''))
    recipients.push(...addresses.filter((address) => address !== '').map(complete))
    for (const field of fields.filter((each) => isNamed(each, /^bcc$/i))) kept = kept.replace(field, '')
  }
  const hasFrom = fields.some((field) => isNamed(field, /^from$/i))
  const name = context.fullName === undefined ? '' : `"${context.fullName.replace(/["\\]/g, '\\$&').replace(/[^\x20-\x7e]/g, '?')}" `
  const from = hasFrom ? '' : `From: ${name}<${complete(context.from || 'MAILER-DAEMON')}>\r\n`
  const octets = Buffer.from(kept, 'latin1')
  const missing = Buffer.from(fieldsInFront(octets, context.id, context.hostname, context.now)).toString('latin1')
  return { octets: Buffer.concat([Buffer.from(from + missing), octets]), recipients: [...new Set(recipients)] }
}
