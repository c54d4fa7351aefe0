// What a message needs and a host offers: the terms on which it is sent, or the outcome when it cannot be sent there.

import { asciiAddress, isAscii } from '../mail/address.ts'
import type { Recipient } from '../mail/envelope.ts'
import type { Outcome } from '../mail/outcome.ts'
import { local } from '../mail/verdict.ts'
import { type Survey, survey } from './survey.ts'
import type { TransferRequest } from './transfer.ts'

export type Extensions = ReadonlyMap<string, string>

export interface Terms {
  body: '' | '8BITMIME' | 'BINARYMIME'
  smtpUtf8: boolean
  /** The host takes over the sender's wishes for reports (RFC 3461 section 5.2). */
  dsn: boolean
}

/** Reads the content only when the host offers less than the envelope declares. */
export async function agreeTerms(request: TransferRequest, extensions: Extensions): Promise<Terms | Outcome> {
  const { envelope, size } = request
  const most = Number.parseInt(extensions.get('SIZE') ?? '', 10)
  if (most > 0 && size > most) return refuse('5.3.4', `the host takes at most ${most} octets, the message has ${size}`)
  // RFC 8689 section 4.2.1. LMTP is final delivery, by a way that the operator chose.
  if (envelope.requireTls && request.protocol === 'smtp' && !extensions.has('REQUIRETLS')) {
    return refuse('5.7.30', 'the message asks for REQUIRETLS, which the host does not offer')
  }
  if (hasControls(envelope.reversePath)) return refuse('5.1.7', 'the reverse-path holds a control character')
  const smtpUtf8 = envelope.smtpUtf8 && extensions.has('SMTPUTF8')
  if (!smtpUtf8 && !canSay(envelope.reversePath)) {
    return refuse('5.6.7', `the host does not take the address ${envelope.reversePath} (no SMTPUTF8)`)
  }
  let known: Survey | null = null
  const holds = async () => (known ??= await survey(request.content()))
  if (envelope.smtpUtf8 && !smtpUtf8 && (await holds()).eightBitHeader) {
    return refuse('5.6.7', 'the header section is not ASCII, and the host does not offer SMTPUTF8')
  }
  const dsn = extensions.has('DSN')
  if (envelope.body === '7BIT') return { body: '', smtpUtf8, dsn }
  if (envelope.body === 'BINARYMIME') {
    if (extensions.has('BINARYMIME') && extensions.has('CHUNKING')) return { body: 'BINARYMIME', smtpUtf8, dsn }
    if ((await holds()).binary) return refuse('5.6.3', 'the message is binary, and the host does not offer BINARYMIME')
  }
  if (extensions.has('8BITMIME')) return { body: '8BITMIME', smtpUtf8, dsn }
  // RFC 6152 speaks of what was declared. What was not goes on as it came, as with most others.
  if (envelope.body !== '8BIT' && (await holds()).eightBit) return refuse('5.6.3', 'the message holds 8-bit octets, and the host does not offer 8BITMIME')
  return { body: '', smtpUtf8, dsn }
}

function refuse(enhanced: string, text: string): Outcome {
  return local('bounced', enhanced, text, 'mail')
}

/** The outcome of a recipient whose address cannot be said on these terms; null when it can be. */
export function unsayable({ forwardPath }: Recipient, terms: Terms): Outcome | null {
  if (hasControls(forwardPath)) return local('bounced', '5.1.3', 'the address holds a control character', 'rcpt')
  if (terms.smtpUtf8 || canSay(forwardPath)) return null
  return local('bounced', '5.6.7', `the host does not take the address ${forwardPath} (no SMTPUTF8)`, 'rcpt')
}

/** RFC 6531 section 3.1: without the extension an address must be ASCII. */
function canSay(address: string): boolean {
  return isAscii(asciiAddress(address))
}

/** What could end a command line before its time never gets into one, wherever the address came from. */
function hasControls(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: keeping them out is the point
  return /[\x00-\x1f\x7f]/.test(text)
}

export function mailCommand({ envelope, size, protocol }: TransferRequest, terms: Terms, extensions: Extensions): string {
  const parameters = [
    extensions.has('SIZE') ? ` SIZE=${size}` : '',
    terms.body === '' ? '' : ` BODY=${terms.body}`,
    terms.smtpUtf8 ? ' SMTPUTF8' : '',
    envelope.requireTls && (protocol === 'smtp' || extensions.has('REQUIRETLS')) ? ' REQUIRETLS' : '',
    terms.dsn && envelope.ret !== null ? ` RET=${envelope.ret}` : '',
    terms.dsn && envelope.envid !== null && isWord(envelope.envid) ? ` ENVID=${envelope.envid}` : '',
  ]
  return `MAIL FROM:<${path(envelope.reversePath, terms)}>${parameters.join('')}`
}

export function rcptCommand({ forwardPath, notify, orcpt }: Recipient, terms: Terms): string {
  const parameters = [
    terms.dsn && notify.length > 0 ? ` NOTIFY=${notify.join(',')}` : '',
    terms.dsn && orcpt !== null && isWord(originalRecipient(orcpt, terms)) ? ` ORCPT=${originalRecipient(orcpt, terms)}` : '',
  ]
  return `RCPT TO:<${path(forwardPath, terms)}>${parameters.join('')}`
}

/** RFC 6533 section 3: where UTF-8 may not go, `\x{HEX}` stands for a character of a utf-8 address. */
function originalRecipient(orcpt: string, { smtpUtf8 }: Terms): string {
  return smtpUtf8 ? orcpt : orcpt.replace(/\P{ASCII}/gu, (character) => `\\x{${character.codePointAt(0)!.toString(16).toUpperCase()}}`)
}

/** One parameter value: nothing in it ends it. */
function isWord(text: string): boolean {
  return /^[^\s\p{Cc}]+$/u.test(text)
}

/** The address on the wire: its domain as A-labels, unless SMTPUTF8 goes along (RFC 6531). */
function path(address: string, { smtpUtf8 }: Terms): string {
  return smtpUtf8 ? address : asciiAddress(address)
}
