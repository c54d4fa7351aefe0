// A transfer: the hosts of a next hop in turn, each address of each, until every recipient has a final outcome.

import type { BodyType, Recipient, Ret } from '../mail/envelope.ts'
import type { AttemptResult, HostTry, Outcome } from '../mail/outcome.ts'
import { brokenOff, onDns } from '../mail/verdict.ts'
import type { Credentials } from './auth.ts'
import type { Dns } from './dns.ts'
import { addressesToTry, type Family } from './families.ts'
import type { Pool } from './pool.ts'
import type { Timeouts } from './session.ts'
import type { Source } from './source.ts'
import type { HostTls } from './tls.ts'
import { visit, type Visit } from './visit.ts'

export interface TransferRequest {
  protocol: 'smtp' | 'lmtp'
  /** Names or addresses, in the order to try. */
  hosts: string[]
  port: number
  /** The path of a Unix socket, in place of hosts and port. Of its own, since hosts are named by strangers, too. */
  socket?: string
  /**
   * What TLS is asked of a host. Asked anew for each one, since a policy that DNS or HTTPS publishes for a host (DANE, RFC 7672; MTA-STS,
   * RFC 8461) may raise what the route asks for; it may never lower it.
   */
  tls: (host: string) => Promise<HostTls>
  auth: Credentials | null
  source: Pick<Source, 'ipv4' | 'ipv6'>
  /** In the order to try them. */
  addressFamilies: Family[]
  /** Our name in EHLO. */
  helo: string
  envelope: { reversePath: string; body: BodyType; smtpUtf8: boolean; requireTls: boolean; ret: Ret | null; envid: string | null }
  /** Octets of the content. */
  size: number
  recipients: Recipient[]
  /** The message with CRLF line ends; called afresh for each host that gets to DATA. */
  content: () => AsyncIterable<Uint8Array>
  timeouts: Timeouts
  /** Asked when all but the final dot has been sent. False: the dot may not be sent. */
  beforeDot: (accepted: number[]) => Promise<boolean>
  /** Whether we listen there ourselves. Left out where the next hop is the operator's word. */
  isOurs?: (address: string) => boolean
  /** Whether the next host is to be asked, although this one has said no for good. */
  anotherHost?: (recipient: Recipient, outcome: Outcome) => boolean
  /** Told the outcomes so far before the attempt goes on with other recipients: a crash from here on repeats no delivery. */
  partly: (outcomes: ReadonlyMap<number, Outcome>) => Promise<void>
  /** Aborted: break off at once, unless the dot was sent; then its reply is still waited for. */
  signal: AbortSignal
}

/** Addresses tried of one host, and in one attempt. */
const addressesOfHost = 5
const addressesInAttempt = 20

/** Makes one attempt. Never throws for what a peer does; throws what `beforeDot`, `partly` and `content` throw. */
export async function transfer(request: TransferRequest, { dns, pool }: { dns: Dns; pool: Pool }): Promise<AttemptResult> {
  const outcomes = new Map<number, Outcome>()
  const tries: HostTry[] = []
  let remaining = request.recipients

  for (const host of request.socket ? ['localhost'] : request.hosts) {
    if (remaining.length === 0 || tries.length >= addressesInAttempt) break
    const found = request.socket ? { kind: 'found' as const, records: [request.socket] } : await dns.addresses(host)
    if (found.kind !== 'found') {
      outOfReach(host, found.kind === 'failed' ? onDns.failed(host, found.problem) : onDns.noAddresses(host))
      continue
    }
    const others = found.records.filter((address) => !request.isOurs?.(address))
    if (others.length === 0) {
      // Another host may be there; who hears of none has mail that goes round in a circle.
      const loop = onDns.ourselves(host, found.records[0]!)
      for (const { n } of remaining) if (!outcomes.has(n)) outcomes.set(n, loop)
      passOver(host, found.records[0]!, loop)
      continue
    }
    const addresses = addressesToTry(others, request.addressFamilies, addressesOfHost)
    if (addresses.length === 0) {
      outOfReach(host, onDns.otherFamily(host, others[0]!))
      continue
    }
    const asked = await request.tls(host)
    for (const address of addresses) {
      for (const level of asked.level === 'may' ? (['may', 'none'] as const) : [asked.level]) {
        if (request.signal.aborted) for (const { n } of remaining) note(n, brokenOff('broken off before the final dot'))
        if (request.signal.aborted || remaining.length === 0) return result()
        if (tries.some((tried) => tried.dotSent)) await request.partly(outcomes)
        const visited = await visit(request, host, address, { ...asked, level }, remaining, pool)
        learn(visited)
        if (!visited.inClear) break
      }
    }
  }
  return result()

  /** A host that was reached has the last word, unless it said that it cannot take the message and this one perhaps could. */
  function outOfReach(host: string, problem: Outcome): void {
    for (const { n } of remaining) if (outcomes.get(n)?.status !== 'deferred') outcomes.set(n, problem)
    passOver(host, null, problem)
  }

  function passOver(host: string, address: string | null, { text }: Outcome): void {
    tries.push({ host, address, port: request.port, at: new Date().toISOString(), took: 0, tls: null, phase: 'dns', dotSent: false, problem: text })
  }

  function learn(visited: Visit): void {
    tries.push(visited.tried)
    for (const [n, outcome] of visited.outcomes) note(n, outcome, visited.elsewhere.has(n))
    remaining = remaining.filter((recipient) => {
      const outcome = visited.outcomes.get(recipient.n)!
      return visited.elsewhere.has(recipient.n) || !isFinal(outcome) || (outcome.status === 'bounced' && request.anotherHost?.(recipient, outcome))
    })
  }

  function note(n: number, outcome: Outcome, elsewhere = false): void {
    const before = outcomes.get(n)
    // Broken off between two hosts: the first one's dot was answered, and that stands. Who said no for good would have been followed by another.
    if (outcome.phase === 'policy' && before?.phase === 'dot') outcomes.set(n, { ...before, status: 'deferred' })
    else if (before?.status !== 'deferred' || (!elsewhere && saysMore(outcome, before))) outcomes.set(n, outcome)
  }

  function result(): AttemptResult {
    const none = onDns.noAddresses(request.hosts.join(', '))
    for (const { n } of request.recipients) if (!outcomes.has(n)) outcomes.set(n, none)
    return { outcomes: Object.fromEntries(outcomes), tries, dotSent: tries.some((tried) => tried.dotSent) }
  }
}

/** Nothing further is tried in this attempt: settled, fenced, or the dot was sent and nobody knows. */
function isFinal(outcome: Outcome): boolean {
  return outcome.status !== 'deferred' || outcome.phase === 'policy' || (outcome.phase === 'dot' && outcome.reply === null)
}

/** What a host said of this message is not forgotten since the next one is not there, or takes nobody's mail now. */
function saysMore(outcome: Outcome, before: Outcome): boolean {
  const isAnswer = ({ phase, reply }: Outcome) => reply !== null && ['mail', 'rcpt', 'data', 'dot'].includes(phase)
  return isFinal(outcome) || isAnswer(outcome) || !isAnswer(before)
}
