// Dot-stuffing (RFC 5321 section 4.5.2): streaming, any chunk borders. Octets are otherwise untouched.

const dot = 0x2e
const lineStart = Buffer.from('\r\n.')

export interface DotStuffer {
  /** The chunk with a dot before each dot that begins a line. */
  stuff(chunk: Uint8Array): Uint8Array[]
  /** What must follow the last chunk so that the final dot stands on a line of its own. */
  end(): string
}

export function createDotStuffer(): DotStuffer {
  let tail = '\r\n' // the last two octets: the message begins at the start of a line
  return {
    stuff(chunk) {
      if (chunk.length === 0) return []
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      const parts: Uint8Array[] = []
      let from = 0
      // A CRLF that the border cuts in two.
      if (tail === '\r\n' && bytes[0] === dot) parts.push(lineStart.subarray(2))
      else if (tail[1] === '\r' && bytes[0] === 10 && bytes[1] === dot) {
        parts.push(bytes.subarray(0, 1), lineStart.subarray(2))
        from = 1
      }
      for (let at = bytes.indexOf(lineStart, 0); at >= 0; at = bytes.indexOf(lineStart, at + 2)) {
        parts.push(bytes.subarray(from, at + 2), lineStart.subarray(2))
        from = at + 2
      }
      parts.push(bytes.subarray(from))
      tail = (tail + bytes.toString('latin1', Math.max(0, bytes.length - 2))).slice(-2)
      return parts
    },
    end: () => (tail === '\r\n' ? '' : '\r\n'),
  }
}
