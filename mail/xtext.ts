// xtext (RFC 3461 section 4): how any text is written in a parameter of MAIL and RCPT.

/** Everything but printable ASCII, and "+" and "=" of that, as `+` and two hex digits for an octet. */
export function encodeXtext(text: string): string {
  return text.replace(/[^!-*,-<>-~]/g, (character) => `+${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}

export function decodeXtext(text: string): string {
  return text.replace(/(?:\+[0-9A-F]{2})+/g, (run) => Buffer.from(run.replaceAll('+', ''), 'hex').toString('utf8'))
}
