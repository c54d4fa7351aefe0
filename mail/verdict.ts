// The policy on failure, all of it: what a reply, a lost connection or an answer of DNS means for a recipient. Protocol code
// reports what happened; only this file decides. Unknown means deferred.

import type { Tls } from './envelope.ts'
import type { Outcome, Phase, Status } from './outcome.ts'
import { formatReply, printable, type Reply } from './reply.ts'

/** The host that an outcome speaks of. */
export interface Peer {
  host: string
  address: string | null
  tls: Tls | null
}

const phaseNames: Partial<Record<Phase, string>> = {
  greeting: 'greeting', ehlo: 'EHLO', tls: 'STARTTLS', auth: 'AUTH', mail: 'MAIL FROM', rcpt: 'RCPT TO', data: 'DATA', dot: 'end of DATA',
}

/** Words of a reply to RCPT that find no fault but with the address: senders of lists strike out who has 5.1.1. */
const noSuchAddress = /no (such|mailbox|user|account)|unknown|unrouteable|invalid|not (exist|found|known|here)|n.t (exist|have)/i
const otherFault = /sender|client|helo|ehlo|auth|relay|your|spam|block|polic|\b(dns|ptr)\b|(no such|unknown|invalid) (host|domain)/i
const mayRefuseAddress = [550, 551, 553, 554]

/** Subject and detail of the enhanced code of a reply that carries none (RFC 3463): as Postfix and Exim, "other" unless the reply says more. */
function detailOf({ code, text }: Reply, phase: Phase): string {
  if (phase === 'auth') return '7.8' // RFC 4954 section 6
  if (phase === 'rcpt' && code === 552) return '2.2' // RFC 5321 section 4.2.3: storage allocation
  if (phase === 'mail' && code === 552) return '3.4' // RFC 1870 section 6.1; behind the dot it may be a size, a full mailbox or an attachment
  // What the address itself happens to be made of says nothing.
  const words = text.replace(/\S+@\S+/g, '')
  return phase === 'rcpt' && mayRefuseAddress.includes(code) && noSuchAddress.test(words) && !otherFault.test(words) ? '1.1' : '0.0'
}

/** What a reply means, at the phase in which it came. */
export function onReply(reply: Reply, phase: Phase, peer: Peer): Outcome {
  const status = statusOf(reply, phase)
  const digit = status === 'delivered' ? 2 : status === 'deferred' ? 4 : 5
  const own = reply.enhanced !== null && Number(reply.enhanced[0]) === digit ? reply.enhanced : null
  const enhanced = own ?? `${digit}.${status === 'delivered' ? '0.0' : detailOf(reply, phase)}`
  const text = `host ${peer.host}[${peer.address}] said: ${formatReply(reply)} (in reply to ${phaseNames[phase] ?? phase})`
  return { status, phase, enhanced, reply, text, ...peer }
}

function statusOf({ code }: Reply, phase: Phase): Status {
  // Only the final dot hands a message over: a positive reply where it makes no sense promises nothing.
  if (code >= 200 && code < 300 && phase === 'dot') return 'delivered'
  if (code < 500) return 'deferred'
  // A refused greeting or EHLO concerns the host, and perhaps us, not the recipient: Postfix defers, too. RFC 7504: 521 and
  // 556 say that the host takes no mail at all.
  if (phase === 'greeting' || phase === 'ehlo') return code === 521 || code === 556 ? 'bounced' : 'deferred'
  // STARTTLS and AUTH fail for reasons that an operator mends.
  if (phase === 'tls' || phase === 'auth') return 'deferred'
  return 'bounced'
}

/** The connection failed or was lost at this phase, without a reply that says why. */
export function onLoss(phase: Phase, problem: string, peer: Peer): Outcome {
  const where = `${peer.host}[${peer.address}]`
  const lines: Partial<Record<Phase, string>> = {
    connect: `cannot connect to ${where}: ${problem}`,
    tls: `TLS with ${where} failed: ${problem}`,
    dot: `connection to ${where} lost after the final dot (${problem}): delivery is unknown`,
  }
  const text = lines[phase] ?? `conversation with ${where} failed in ${phaseNames[phase] ?? phase}: ${problem}`
  const enhanced = phase === 'connect' ? '4.4.1' : phase === 'tls' ? '4.7.5' : '4.4.2'
  return { status: 'deferred', phase, enhanced, reply: null, text: printable(text).replaceAll('\n', ' '), ...peer }
}

/** No connection can be made from the address that the settings give as source: theirs to mend, not the peer's, nor the sender's. */
export function onSource(source: string, problem: string, peer: Peer): Outcome {
  return { ...local('deferred', settingsWrong, `cannot connect to ${peer.host}[${peer.address}] from the source address ${source}: ${problem}`, 'connect'), ...peer }
}

/** RFC 3463: "system incorrectly configured". */
const settingsWrong = '4.3.5'

/** Whether our own settings keep mail waiting, whatever the next hop does; a next hop may say the same code of its own. */
export function isOfSettings({ reply, enhanced }: Outcome): boolean {
  return reply === null && enhanced === settingsWrong
}

/** An outcome that we come to without a peer. */
export function local(status: Status, enhanced: string, text: string, phase: Phase = 'local'): Outcome {
  return { status, phase, enhanced, reply: null, text: printable(text).replaceAll('\n', ' '), host: null, address: null, tls: null }
}

/** An alias: it is settled when the message is accepted, and all that is left is to say so. */
export function expandedTo(addresses: number): Outcome {
  return local('delivered', '2.0.0', `an alias that stands for ${addresses} addresses: the message goes to each of them`, 'queue')
}

/** What an operator's word comes to. */
export function byOperator(what: 'returned' | 'dropped', why: string): Outcome {
  return local('bounced', '5.0.0', `${what} by the operator${why ? `: ${why}` : ''}`, 'queue')
}

/** No attempt could be made, or it was broken off before the wire: the backoff does not advance. */
export function brokenOff(text: string): Outcome {
  return local('deferred', '4.3.2', text, 'policy')
}

export const onDns = {
  noDomain: (domain: string) => local('bounced', '5.1.2', `domain ${domain} does not exist`, 'dns'),
  noHost: (domain: string) => local('bounced', '5.1.2', `domain ${domain} has neither MX nor address`, 'dns'),
  nullMx: (domain: string) => local('bounced', '5.1.10', `domain ${domain} accepts no mail (null MX)`, 'dns'),
  loop: (domain: string) => local('bounced', '5.4.6', `mail for ${domain} loops back to me`, 'dns'),
  ourselves: (host: string, address: string) => local('bounced', '5.4.6', `mail for host ${host}[${address}] loops back to me: I listen there`, 'dns'),
  // The domain of a recipient is the sender's business, the next hop of a route the operator's.
  misrouted: (problem: Outcome, cure: string) => local('deferred', settingsWrong, `${problem.text}, the next hop that an operator chose: ${cure}`, 'dns'),
  failed: (name: string, problem: string) => local('deferred', '4.4.3', `DNS for ${name} failed: ${problem}`, 'dns'),
  // As Postfix: an MX that names a host without address may be a mistake that is mended soon.
  noAddresses: (hosts: string) => local('deferred', '4.4.4', `no address for ${hosts}`, 'dns'),
  // It has an address: that we do not go there is our own doing, and may be mended; it is no reason to call the domain wrong.
  otherFamily: (host: string, address: string) =>
    local('deferred', '4.4.4', `of ${host} only such addresses as ${address} are known, and addressFamilies in the settings leaves their family out`, 'dns'),
}
