// What an alias makes of one RCPT: the recipients that take its place, and what each of them is to report (RFC 3461 section 5.2.7). Pure.

import type { Notify, Recipient } from './envelope.ts'
import { orcptOf } from './xtext.ts'

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
