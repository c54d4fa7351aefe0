// Looks at a message as it streams in: what SMTP forbids in it, how long it and its lines are, how often it has been relayed.

import { isAscii } from 'node:buffer'

export interface BodyCheckOptions {
  /** BODY=BINARYMIME: there are no lines, and every octet may come (RFC 3030 section 3). */
  binary: boolean
  /** Octets of the longest line that is taken, without its CRLF; 0: any. */
  lineLength: number
}

export interface BodyCheck {
  feed(chunk: Uint8Array): void
  /** Octets so far. */
  size(): number
  /** Received fields in the header section. */
  hops(): number
  /** Whether there is an octet above 127. */
  eightBit(): boolean
  /** What the message holds that RFC 5321 section 2.3.8, or the setting for lines, forbids, else null. */
  fault(): string | null
  /** To be asked after the last chunk. */
  end(): void
}

/** Octets of the header section in which Received fields are counted. */
const headerLooked = 1024 * 1024

export function createBodyCheck({ binary, lineLength }: BodyCheckOptions): BodyCheck {
  let size = 0
  let hops = 0
  let eightBit = false
  let fault: string | null = null
  let endedInCr = false
  let inLine = 0 // octets of the unfinished line
  let header: string | null = '' // the unfinished line of the header section; null once the section is over

  return {
    size: () => size,
    hops: () => hops,
    eightBit: () => eightBit,
    fault: () => fault,
    feed(chunk) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      if (header !== null) countHops(bytes)
      size += bytes.length
      eightBit ||= !isAscii(bytes)
      if (fault === null && !binary) fault = findFault(bytes)
    },
    end() {
      if (fault === null && endedInCr) fault = 'a bare CR'
    },
  }

  function findFault(bytes: Buffer): string | null {
    if (bytes.includes(0)) return 'a NUL'
    if (endedInCr && bytes[0] !== 10) return 'a bare CR'
    let begun = -inLine
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) {
      if (at === 0 ? !endedInCr : bytes[at - 1] !== 13) return 'a bare LF'
      if (tooLong(at - 1 - begun)) return tooLongFault
      begun = at + 1
    }
    for (let at = bytes.indexOf(13); at >= 0 && at + 1 < bytes.length; at = bytes.indexOf(13, at + 1)) {
      if (bytes[at + 1] !== 10) return 'a bare CR'
    }
    endedInCr = bytes.at(-1) === 13
    inLine = bytes.length - begun
    return tooLong(inLine - (endedInCr ? 1 : 0)) ? tooLongFault : null
  }

  function tooLong(octets: number): boolean {
    return lineLength > 0 && octets > lineLength
  }

  function countHops(bytes: Buffer): void {
    if (size > headerLooked) {
      header = null
      return
    }
    const end = bytes.indexOf('\r\n\r\n')
    const lines = ((header ?? '') + bytes.toString('latin1', 0, end < 0 ? bytes.length : end + 4)).split('\n')
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

const tooLongFault = 'a line that is too long'
