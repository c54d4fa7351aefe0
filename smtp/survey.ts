// What a message really holds, by one pass over its octets: asked only when a host offers less than the envelope declares.

export interface Survey {
  /** There is an octet above 127. */
  eightBit: boolean
  /** There is one in the header section: only SMTPUTF8 may carry it (RFC 6532). */
  eightBitHeader: boolean
  /** NUL, a bare CR or LF, a line above 998 octets, or no line end at the end: only BINARYMIME may carry it (RFC 3030). */
  binary: boolean
}

const longestLine = 998 // RFC 5321 section 4.5.3.1.6, without CRLF

export async function survey(content: AsyncIterable<Uint8Array>): Promise<Survey> {
  const found: Survey = { eightBit: false, eightBitHeader: false, binary: false }
  let inHeader = true
  let length = 0 // of the line so far
  let previous = 10
  for await (const chunk of content) {
    for (const octet of chunk) {
      if (octet === 10) {
        if (previous !== 13) found.binary = true
        if (length === 0) inHeader = false
        length = 0
      } else {
        if (previous === 13 || octet === 0) found.binary = true
        if (octet !== 13 && ++length > longestLine) found.binary = true
        if (octet > 127) {
          found.eightBit = true
          if (inHeader) found.eightBitHeader = true
        }
      }
      previous = octet
    }
  }
  if (previous !== 10) found.binary = true
  return found
}
