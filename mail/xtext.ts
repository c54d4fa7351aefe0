// xtext (RFC 3461 section 4): how any text is written in a parameter of MAIL and RCPT.

import { isAscii } from './address.ts'

/** Everything but printable ASCII, and "+" and "=" of that, as `+` and two hex digits for an octet. */
function encodeXtext(text: string): string {
  return text.replace(/[^!-*,-<>-~]/g, (character) => `+${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}

export function decodeXtext(text: string): string {
  return text.replace(/(?:\+[0-9A-F]{2})+/g, (run) => Buffer.from(run.replaceAll('+', ''), 'hex').toString('utf8'))
}

/** ORCPT for mail to `address` that goes to another in its place; null where it is not ASCII, as addresses of the type rfc822 are. */
export function orcptOf(address: string): string | null {
  return isAscii(address) ? `rfc822;${encodeXtext(address)}` : null
}
