// CRLF to LF, streaming: files and programs of Unix keep mail with LF.

/** Drops each CR that stands before an LF; a chunk border may fall between the two. */
export async function* withLf(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let heldCr = false
  for await (const chunk of content) {
    const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1')
    const whole: string = heldCr ? `\r${text}` : text
    heldCr = whole.endsWith('\r')
    yield Buffer.from((heldCr ? whole.slice(0, -1) : whole).replaceAll('\r\n', '\n'), 'latin1')
  }
  if (heldCr) yield Buffer.from('\r')
}
