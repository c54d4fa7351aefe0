// The header section of a message as octets: filtered while it streams, or read off the front. The body is never touched.

/** A line longer than this is passed on as it is, in pieces: no field that we look for is as long. */
const longLine = 64 * 1024

/** Drops each field of this name, with its folded lines, from the header section; all else passes octet for octet. */
export async function* withoutField(name: string, content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const prefix = `${name.toLowerCase()}:`
  let held: Buffer = Buffer.alloc(0)
  let inHeader = true
  let dropping = false
  let continued = false // in the middle of a long line
  for await (const chunk of content) {
    if (!inHeader) {
      yield chunk
      continue
    }
    held = held.length > 0 ? Buffer.concat([held, chunk]) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    let from = 0
    const kept: Uint8Array[] = []
    while (inHeader) {
      const end = held.indexOf(10, from)
      if (end < 0 && held.length - from <= longLine) break
      const to = end < 0 ? held.length : end + 1
      const line = held.subarray(from, to)
      if (!continued) {
        const folded = line[0] === 32 || line[0] === 9
        if (!folded) dropping = line.toString('latin1', 0, prefix.length).toLowerCase() === prefix
        if (line.equals(emptyLine)) inHeader = false
      }
      if (!dropping) kept.push(line)
      continued = end < 0
      from = to
    }
    if (kept.length > 0) yield Buffer.concat(kept)
    held = held.subarray(from)
    if (!inHeader && held.length > 0) yield held
  }
  if (inHeader && held.length > 0) {
    const starts = held.toString('latin1', 0, prefix.length).toLowerCase() === prefix
    const folded = held[0] === 32 || held[0] === 9
    if (continued || folded ? !dropping : !starts) yield held
  }
}

const emptyLine = Buffer.from('\r\n')

/** The header section without the empty line that ends it; at most `limit` octets, cut at a line end. */
export async function headerSection(content: AsyncIterable<Uint8Array>, limit: number): Promise<Uint8Array> {
  let read: Buffer = Buffer.alloc(0)
  for await (const chunk of content) {
    read = Buffer.concat([read, chunk])
    const end = read.subarray(0, 2).equals(emptyLine) ? 0 : read.indexOf('\r\n\r\n') + 2
    if (end !== 1 && end <= limit) return read.subarray(0, end)
    if (read.length > limit) break
  }
  const most = read.subarray(0, limit)
  const lastLine = most.lastIndexOf('\r\n')
  return most.subarray(0, lastLine < 0 ? 0 : lastLine + 2)
}
