// Variable envelope return paths: each recipient gets mail with a reverse-path that names it, so that whoever keeps a list sees from
// the address of a report alone whom it is about. As Postfix writes them: owner+user=domain@origin. Pure.

import { splitAddress, unquotedLocalPart } from './address.ts'
import type { Envelope } from './envelope.ts'
import { knownAs } from './expand.ts'
import { fitsSender } from './retry.ts'

export interface VerpSettings {
  delimiters: string
  senders: string[]
}

/** Gives each recipient its own reverse-path, where the client asked for it or the settings name the sender. Reports have none. */
export function withVerp(envelope: Envelope, { delimiters, senders }: VerpSettings): Envelope {
  const { reversePath, recipients } = envelope
  const listed = senders.some((pattern) => fitsSender(pattern, reversePath))
  const used = envelope.verp ?? (listed ? delimiters : null)
  if (used === null || reversePath === '') return envelope
  return { ...envelope, recipients: recipients.map((recipient) => ({ ...recipient, verp: verpPath(reversePath, knownAs(recipient), used) })) }
}

/** `delimiters`: two characters, before the recipient and in place of its "@". */
export function verpPath(reversePath: string, recipient: string, delimiters: string): string {
  const [from, to] = [splitAddress(reversePath), splitAddress(recipient)]
  const localPart = `${unquotedLocalPart(from.localPart)}${delimiters[0]}${unquotedLocalPart(to.localPart)}${delimiters[1]}${to.domain}`
  return `${quoted(localPart)}@${from.domain}`
}

function quoted(localPart: string): string {
  const plain = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u{a0}-\u{10ffff}-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u{a0}-\u{10ffff}-]+)*$/u
  return plain.test(localPart) ? localPart : `"${localPart.replace(/["\\]/g, '\\$&')}"`
}
