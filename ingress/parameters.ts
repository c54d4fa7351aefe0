// The parameters of MAIL and RCPT: read, checked, and made values of. What was not offered is not known (RFC 5321 section 4.1.1.11).

import { isAscii } from '../mail/address.ts'
import type { DeclaredBody, Notify, Ret } from '../mail/envelope.ts'
import { type Reply, reply, syntaxError } from './reply.ts'

/** What a session offers, and so takes. */
export interface Offered {
  messageSize: number
  auth: boolean
  /** REQUIRETLS: only under TLS (RFC 8689). */
  tls: boolean
  /** Milliseconds of FUTURERELEASE; 0: not offered. */
  futureRelease: number
  /** XVERP: the delimiters when none are given; null: not offered. */
  verp: string | null
}

export interface MailParameters {
  size: number | null
  body: DeclaredBody
  smtpUtf8: boolean
  requireTls: boolean
  ret: Ret | null
  envid: string | null
  releaseAt: Date | null
  verp: string | null
}

export interface RcptParameters {
  notify: Notify[]
  orcpt: string | null
}

type Result<T> = T | { refused: Reply }

/** `text` is what follows the path. */
export function mailParameters(text: string, offered: Offered, now: number): Result<MailParameters> {
  const found: MailParameters = { size: null, body: '7BIT', smtpUtf8: false, requireTls: false, ret: null, envid: null, releaseAt: null, verp: null }
  const refused = each(text, (name, value) => {
    switch (name) {
      case 'SIZE':
        if (!/^\d{1,20}$/.test(value)) return bad(name)
        found.size = Number(value)
        return found.size > offered.messageSize ? reply(552, '5.3.4', `The message is larger than ${offered.messageSize} octets`) : null
      case 'BODY':
        if (!/^(7BIT|8BITMIME|BINARYMIME)$/i.test(value)) return bad(name)
        found.body = value.toUpperCase() as DeclaredBody
        return null
      case 'SMTPUTF8':
        found.smtpUtf8 = true
        return value === '' ? null : bad(name)
      case 'REQUIRETLS':
        found.requireTls = true
        if (!offered.tls) return reply(530, '5.7.10', 'REQUIRETLS needs STARTTLS first')
        return value === '' ? null : bad(name)
      case 'RET':
        if (!/^(FULL|HDRS)$/i.test(value)) return bad(name)
        found.ret = value.toUpperCase() as Ret
        return null
      case 'ENVID':
        found.envid = value
        return isXtext(value) && value.length <= 100 ? null : bad(name)
      case 'XVERP':
        // As Postfix has it: without a value the usual delimiters, or two of these.
        if (offered.verp === null) return unknown(name)
        found.verp = value || offered.verp
        return /^[-+=]{2}$/.test(found.verp) ? null : bad(name)
      case 'AUTH':
        // RFC 4954 section 5: who wrote it, as another server says. We take nobody's word, and pass on nothing.
        if (!offered.auth) return unknown(name)
        return isXtext(value) ? null : bad(name)
      case 'HOLDFOR':
      case 'HOLDUNTIL': {
        if (offered.futureRelease === 0) return unknown(name)
        if (found.releaseAt !== null) return syntaxError('Give HOLDFOR or HOLDUNTIL, one of them, once')
        const at = name === 'HOLDFOR' ? (/^\d{1,9}$/.test(value) ? now + Number(value) * 1000 : Number.NaN) : internetTime(value)
        if (Number.isNaN(at)) return bad(name)
        found.releaseAt = new Date(at)
        return at > now + offered.futureRelease ? reply(554, '5.5.4', `No message is held for longer than ${offered.futureRelease / 1000} seconds`) : null
      }
      default:
        return unknown(name)
    }
  })
  return refused ? { refused } : found
}

export function rcptParameters(text: string, smtpUtf8: boolean): Result<RcptParameters> {
  const found: RcptParameters = { notify: [], orcpt: null }
  const refused = each(text, (name, value) => {
    switch (name) {
      case 'NOTIFY': {
        const words = value.toUpperCase().split(',')
        const known = words.every((word) => /^(NEVER|SUCCESS|FAILURE|DELAY)$/.test(word)) && new Set(words).size === words.length
        if (!known || (words.includes('NEVER') && words.length > 1)) return bad(name)
        found.notify = words as Notify[]
        return null
      }
      case 'ORCPT': {
        const [, type, address] = /^([A-Za-z0-9-]{1,40});(.+)$/s.exec(value) ?? []
        // RFC 6533 section 3: under SMTPUTF8 the address may be in UTF-8 as it is.
        const form = type !== undefined && (isXtext(address!) || (smtpUtf8 && /^utf-8$/i.test(type) && isXtext(address!.replace(/[^\0-\x7f]/g, 'x').replace(/\\x\{[0-9A-F]+\}/g, 'x'))))
        if (!form || value.length > 500) return bad(name)
        found.orcpt = value
        return null
      }
      default:
        return unknown(name)
    }
  })
  return refused ? { refused } : found
}

/** Goes through `NAME=value` words, each after one space or more; every name but once. Only XVERP has a "=" in its value. */
function each(text: string, take: (name: string, value: string) => Reply | null): Reply | null {
  if (text.trim() === '') return null
  if (!text.startsWith(' ')) return syntaxError('A space belongs between the path and the parameters')
  const seen = new Set<string>()
  for (const word of text.trim().split(/ +/)) {
    const [, written, value = ''] = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^=\p{Cc} ]+|[-+=]{2}))?$/u.exec(word) ?? []
    const name = written?.toUpperCase()
    if (name === undefined || seen.has(name)) return syntaxError(`Not a parameter, or given twice: ${word.slice(0, 40)}`)
    seen.add(name)
    const refused = take(name, value)
    if (refused) return refused
  }
  return null
}

const bad = (name: string) => syntaxError(`The value of ${name} is not well formed`)
const unknown = (name: string) => reply(555, '5.5.4', `Unknown parameter ${name.slice(0, 40)}`)

/** RFC 3461 section 4: printable ASCII but "+" and "=", which stand as `+2B` and `+3D`. */
function isXtext(text: string): boolean {
  return isAscii(text) && /^(?:[!-*,-<>-~]|\+[0-9A-F]{2})+$/.test(text)
}

/** RFC 3339, with its zone; NaN when it is none. */
function internetTime(text: string): number {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(text) ? Date.parse(text) : Number.NaN
}
