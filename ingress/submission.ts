// What holds for mail from its author alone (RFC 6409): whose reverse-path a user may use, and the fields that every message has.

import { comparable } from '../mail/address.ts'
import { dateTime } from '../mail/trace.ts'

export interface User {
  name: string
  /** Reverse-paths that are theirs besides the name: addresses, or `@domain` for all of a domain. */
  addresses: string[]
  /** When they were last looked up (performance.now()), and which password they had then. */
  seen: { passwordHash: string; at: number }
}

/** Whether a user may send with this reverse-path. The null reverse-path is everyone's: reports have it. */
export function ownsSender(user: Pick<User, 'name' | 'addresses'>, reversePath: string): boolean {
  if (reversePath === '') return true
  const asked = comparable(reversePath)
  return [user.name, ...user.addresses].some((own) => (own.startsWith('@') ? asked.endsWith(comparable(own)) : asked === comparable(own)))
}

/**
 * What is put in front of a message that comes from its author: Date and Message-ID as far as the header section has none, and a name for
 * a mailbox's "From " line, as Postfix has it, so that it is a field, too; nothing when `head`, the beginning of the message, does not hold
 * the whole header section. A message without any header section is given an empty line after it.
 */
export function fieldsInFront(head: Buffer, id: string, hostname: string, now: Date): Uint8Array {
  const end = head.subarray(0, 2).equals(crlf) ? 0 : head.indexOf('\r\n\r\n')
  // As large as a first chunk, and still no end: it is left as it is.
  if (end < 0 && head.length >= headerLooked) return Buffer.alloc(0)
  const header = head.toString('latin1', 0, end < 0 ? head.length : end)
  const fields = [
    ...(/^date[ \t]*:/im.test(header) ? [] : [`Date: ${dateTime(now)}\r\n`]),
    ...(/^message-id[ \t]*:/im.test(header) ? [] : [`Message-ID: <${id}@${hostname}>\r\n`]),
  ].join('')
  if (end === 0 || /^[!-9;-~]+[ \t]*:/.test(header)) return Buffer.from(fields)
  if (/^>*From .*\r\n[!-9;-~]+[ \t]*:/.test(header)) return Buffer.from(`${fields}X-Mailbox-Line: `)
  return Buffer.from(fields === '' ? '' : `${fields}\r\n`)
}

const crlf = Buffer.from('\r\n')
const headerLooked = 128 * 1024
