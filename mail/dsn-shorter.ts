// A report that returns a whole message, made again with its header fields alone: for a host that does not take the whole.

import { type ComposedReport, headerPart } from './dsn.ts'
import { headerSection } from './headers.ts'

export type ShorterReport = Omit<ComposedReport, 'tail'>

/** `dsnId` is the one that it was composed with, `limit` the most octets of header fields. Null when it returns no whole message. */
export async function withHeadersOnly(report: AsyncIterable<Uint8Array>, dsnId: string, limit: number): Promise<ShorterReport | null> {
  // The boundary is of chance: nothing that is returned can hold it.
  const whole = new RegExp(`\r\n--${dsnId}\r\nContent-Type: message/(rfc822|global)\r\n(?:[^\r]+\r\n)+\r\n`)
  let read = Buffer.alloc(0)
  let found: RegExpExecArray | null = null
  for await (const chunk of report) {
    read = Buffer.concat([read, chunk])
    found ??= whole.exec(read.toString('latin1'))
    if (found && read.length > found.index + found[0].length + limit) break
  }
  if (!found) return null
  const global = found[1] === 'global'
  const rest = read.subarray(found.index + found[0].length)
  const end = rest.lastIndexOf(`\r\n--${dsnId}--\r\n`)
  const returned = end < 0 ? rest : rest.subarray(0, end + 2)
  const original = await headerSection((async function* () { yield returned })(), limit)
  const before = read.toString('utf8', 0, found.index)
  // Its first field of this name speaks of the report as a whole, which is 7-bit now unless its addresses are not.
  const front = global ? before : before.replace('\r\nContent-Transfer-Encoding: 8bit\r\n', '\r\n')
  const lines = [front, `--${dsnId}`, ...headerPart(original, global), `--${dsnId}--`, '']
  return { head: Buffer.from(lines.join('\r\n')), body: global ? '8BITMIME' : '7BIT', smtpUtf8: global }
}
