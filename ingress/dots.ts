// The transparency of DATA (RFC 5321 section 4.5.2), taken off while it streams in. Only CRLF "." CRLF ends a message, and a dot is
// removed only after CRLF: nothing that a bare CR or LF surrounds counts as a line.

export interface Unstuffed {
  /** Octets of the message, in order. */
  content: Uint8Array[]
  /** null until the final dot has come; then what followed it. */
  rest: Buffer | null
}

export interface Unstuffer {
  feed(chunk: Buffer): Unstuffed
}

const lineStart = Buffer.from('\r\n')
const [CR, LF] = [13, 10]

export function createUnstuffer(): Unstuffer {
  // The end of what came before, already passed on but for a dot: where a line may begin, or the final dot stand.
  let context: Buffer = lineStart
  let passed = 2 // octets of the context that were passed on

  return {
    feed(chunk) {
      const octets = context.length > 0 ? Buffer.concat([context, chunk]) : chunk
      const content: Uint8Array[] = []
      let from = passed
      const pass = (to: number) => {
        if (to > from) content.push(octets.subarray(from, to))
        from = Math.max(from, to)
      }
      for (let at = octets.indexOf('\r\n.'); at >= 0; at = octets.indexOf('\r\n.', from)) {
        const next = at + 3
        pass(at + 2)
        const undecided = next === octets.length || (next + 1 === octets.length && octets[next] === CR)
        if (undecided) return keep(octets, at, 2, content)
        if (octets[next] === CR && octets[next + 1] === LF) return { content, rest: octets.subarray(next + 2) }
        from = next
      }
      pass(octets.length)
      const kept = octets[octets.length - 1] === CR ? 1 : octets[octets.length - 1] === LF && octets[octets.length - 2] === CR ? 2 : 0
      return keep(octets, octets.length - kept, kept, content)
    },
  }

  function keep(octets: Buffer, from: number, count: number, content: Uint8Array[]): Unstuffed {
    context = octets.subarray(from)
    passed = count
    return { content, rest: null }
  }
}
