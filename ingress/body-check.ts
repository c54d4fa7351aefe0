// Looks at a body as it streams in: what SMTP forbids in it, how long it is, how often it has been relayed.

export interface BodyCheck {
  feed(chunk: Uint8Array): void
  /** Octets so far. */
  size(): number
  /** Received fields in the header section. */
  hops(): number
  /** What the body holds that RFC 5321 section 2.3.8 forbids, else null. */
  fault(): 'NUL' | 'bare CR' | 'bare LF' | null
  /** To be asked after the last chunk. */
  end(): void
}

/** Octets of the header section in which Received fields are counted. */
const headerLooked = 1024 * 1024

export function createBodyCheck(): BodyCheck {
  let size = 0
  let hops = 0
  let fault: ReturnType<BodyCheck['fault']> = null
  let endedInCr = false
  let header: string | null = '' // the unfinished line of the header section; null once the section is over

  return {
    size: () => size,
    hops: () => hops,
    fault: () => fault,
    feed(chunk) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      if (header !== null) countHops(bytes)
      size += bytes.length
      if (fault === null) fault = findFault(bytes)
    },
    end() {
      if (fault === null && endedInCr) fault = 'bare CR'
    },
  }

  function findFault(bytes: Buffer): typeof fault {
    if (bytes.includes(0)) return 'NUL'
    if (endedInCr && bytes[0] !== 10) return 'bare CR'
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) {
      if (at === 0 ? !endedInCr : bytes[at - 1] !== 13) return 'bare LF'
    }
    for (let at = bytes.indexOf(13); at >= 0 && at + 1 < bytes.length; at = bytes.indexOf(13, at + 1)) {
      if (bytes[at + 1] !== 10) return 'bare CR'
    }
    endedInCr = bytes.at(-1) === 13
    return null
  }

  function countHops(bytes: Buffer): void {
    if (size > headerLooked) {
      header = null
      return
    }
    const lines = ((header ?? '') + bytes.toString('latin1')).split('\n')
    header = lines.pop()!.slice(0, 1000)
    for (const line of lines) {
      if (line === '\r' || line === '') {
        header = null
        return
      }
      if (/^received:/i.test(line)) hops++
    }
  }
}
