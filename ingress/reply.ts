// Replies on the wire: one code, one enhanced code, any number of lines. Whatever a client said is made safe here before it is echoed.

export interface Reply {
  code: number
  /** RFC 3463; null for the greeting, EHLO, 3xx and AUTH challenges, which carry none (RFC 2034 section 4). */
  enhanced: string | null
  lines: string[]
  /** The connection ends after it. */
  close: boolean
}

export function reply(code: number, enhanced: string | null, ...lines: string[]): Reply {
  return { code, enhanced, lines, close: code === 421 || code === 221 }
}

/** A reply after which we hang up, whatever its code. */
export function farewell(code: number, enhanced: string, text: string): Reply {
  return { ...reply(code, enhanced, text), close: true }
}

export const ok = reply(250, '2.0.0', 'Ok')
export const wrongOrder = (text: string) => reply(503, '5.5.1', text)
export const syntaxError = (text: string) => reply(501, '5.5.4', text)

/** Octets of one line as RFC 5321 section 4.5.3.1.5 bounds them, without CRLF. */
const lineLength = 510

/** As it goes out, with CRLF after each line. */
export function formatReply({ code, enhanced, lines }: Reply): string {
  const status = enhanced === null ? '' : `${enhanced} `
  return lines.map((line, i) => `${code}${i < lines.length - 1 ? '-' : ' '}${status}${safe(line)}`.slice(0, lineLength) + '\r\n').join('')
}

function safe(line: string): string {
  return line.replace(/[^\x20-\x7e]/g, '?')
}
