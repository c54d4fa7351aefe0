// SMTP replies: their parts and their safe form. A peer's reply is hostile text until it has been through here.

export interface Reply {
  /** 200 to 599. */
  code: number
  /** The enhanced status code (RFC 3463) when the text began with one that fits the code, else null. */
  enhanced: string | null
  /** The text of each line without code and enhanced code, joined by "\n"; printable, at most maximalReplyText characters. */
  text: string
}

export const maximalReplyText = 4096

/** Builds a Reply from its three-digit code and the raw text of each of its lines. */
export function makeReply(code: number, lines: string[]): Reply {
  let enhanced: string | null = null
  const texts = lines.map((line) => {
    const match = /^([245])\.(\d{1,3})\.(\d{1,3})(?:[ \t]+|$)/.exec(line)
    if (!match || Number(match[1]) !== Math.floor(code / 100)) return line
    enhanced ??= `${match[1]}.${match[2]}.${match[3]}`
    return line.slice(match[0].length)
  })
  return { code, enhanced, text: printable(texts.join('\n').slice(0, maximalReplyText)) }
}

/**
 * Text that is safe in a log line, a DSN, a Postgres text column and a terminal: control characters other than
 * the newline become "?", as do the characters of Unicode that turn or break a line unseen; lone surrogates become U+FFFD. NUL and lone
 * surrogates cannot be stored by Postgres.
 */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: removing them is the point
  return text.replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '?').toWellFormed()
}

/** One line, as logs and Diagnostic-Code show it: `550 5.1.1 No such user`. */
export function formatReply(reply: Reply): string {
  return [reply.code, reply.enhanced, reply.text.replaceAll('\n', ' ')].filter((part) => part !== null && part !== '').join(' ')
}
