// What an alias makes of one RCPT: the recipients that take its place, what each of them is to report (RFC 3461 section 5.2.7), and by which
// address the sender knows it. Pure.

import { comparable, isAscii, parsePath } from './address.ts'
import type { Notify, Recipient } from './envelope.ts'
import { decodeXtext, orcptOf } from './xtext.ts'

/**
 * `addresses` take the place of `path`, which is one of them or an alias. Reports speak of the address that the sender knows. An alias
 * that stands for one address passes on what the sender asked for. One that stands for several is, where a success was to be reported,
 * reported as expanded, and its members report no success: the sender has asked about one address and is told of it once. (A mailing
 * list would report it as delivered, and send on its own behalf; we have none.)
 */
export function expandRecipient(path: string, addresses: string[], wishes: Pick<Recipient, 'notify' | 'orcpt'>): Omit<Recipient, 'n'>[] {
  const tells = wishes.notify.includes('SUCCESS') && addresses.length > 1
  const rest = wishes.notify.filter((word) => word !== 'SUCCESS')
  // Without any word left NOTIFY would mean the default, which is to report failures.
  const notify: Notify[] = !tells ? wishes.notify : rest.length > 0 ? rest : ['NEVER']
  const members = addresses.map((forwardPath) => ({
    forwardPath, notify, orcpt: wishes.orcpt ?? (forwardPath === path ? null : orcptOf(path)),
  }))
  return tells ? [{ ...wishes, forwardPath: path, expanded: addresses.length }, ...members] : members
}

/** The address that the sender knows: an alias, rather than who is behind it. An ORCPT that is no address is passed over. */
export function knownAs({ forwardPath, orcpt }: Pick<Recipient, 'forwardPath' | 'orcpt'>): string {
  const [, address = ''] = /^rfc822;(.+)$/is.exec(orcpt ?? '') ?? []
  const known = decodeXtext(address)
  const path = parsePath(`<${known}>`)
  return known !== '' && isAscii(known) && 'address' in path && path.address === known ? known : forwardPath
}

/** The same, where it is another address than the recipient's own; else null. */
export function originalOf(recipient: Pick<Recipient, 'forwardPath' | 'orcpt'>): string | null {
  const known = knownAs(recipient)
  return comparable(known) === comparable(recipient.forwardPath) ? null : known
}
