// A transfer: the hosts of a next hop in turn, each address of each, until every recipient has a final outcome.

import type { BodyType, Recipient } from '../mail/envelope.ts'
import type { AttemptResult, HostTry, Outcome, Phase } from '../mail/outcome.ts'
import type { TlsPolicy } from '../mail/route.ts'
import { brokenOff, onDns } from '../mail/verdict.ts'
import type { Dns } from './dns.ts'
import { openSession, type Timeouts } from './session.ts'
import { runTransaction } from './transaction.ts'

export interface TransferRequest {
  protocol: 'smtp' | 'lmtp'
  /** Names or addresses, in the order to try. */
  hosts: string[]
  port: number
  tls: TlsPolicy
  /** Our name in EHLO. */
  helo: string
  envelope: { reversePath: string; body: BodyType; smtpUtf8: boolean }
  /** Octets of the content. */
  size: number
  recipients: Recipient[]
  /** The message with CRLF line ends; called afresh for each host that gets to DATA. */
  content: () => AsyncIterable<Uint8Array>
  timeouts: Timeouts
  /** Asked when all but the final dot has been sent. False: the dot may not be sent. */
  beforeDot: (accepted: number[]) => Promise<boolean>
  /** Whether a retry rule wants the next host asked, although this one has said no for good. */
  anotherHost?: (recipient: Recipient, outcome: Outcome) => boolean
  /** Aborted: break off at once, unless the dot was sent; then its reply is still waited for. */
  signal: AbortSignal
}

/** Addresses tried of one host, and in one attempt. */
const addressesOfHost = 5
const addressesInAttempt = 20

/** Makes one attempt. Never throws for what a peer does; throws what `beforeDot` and `content` throw. */
export async function transfer(request: TransferRequest, dns: Dns): Promise<AttemptResult> {
  const outcomes = new Map<number, Outcome>()
  const tries: HostTry[] = []
  let remaining = request.recipients
  const learn = (outcome: Outcome) => {
    for (const { n } of remaining) outcomes.set(n, outcome)
  }
  learn(onDns.noAddresses(request.hosts.join(', ')))

  for (const host of request.hosts) {
    if (remaining.length === 0 || tries.length >= addressesInAttempt) break
    const found = await dns.addresses(host)
    if (found.kind !== 'found') {
      const problem = found.kind === 'failed' ? onDns.failed(host, found.problem) : onDns.noAddresses(host)
      if (tries.length === 0) learn(problem)
      tries.push({ ...startTry(host, null, request.port), phase: 'dns', problem: problem.text })
      continue
    }
    for (const address of found.records.slice(0, addressesOfHost)) {
      for (const tls of request.tls === 'may' ? (['may', 'none'] as const) : [request.tls]) {
        if (request.signal.aborted) learn(brokenOff('broken off before the final dot'))
        if (request.signal.aborted || remaining.length === 0) return result(outcomes, tries)
        const inClear = await tryAddress({ ...request, tls }, host, address)
        if (!inClear) break
      }
    }
  }
  return result(outcomes, tries)

  /** Tries one address; true when it is worth another try in the clear. */
  async function tryAddress(request: TransferRequest, host: string, address: string): Promise<boolean> {
    const begun = performance.now()
    const tried = startTry(host, address, request.port)
    const opened = await openSession({ ...request, host, address })
    if (opened.kind === 'failed') {
      const broken = request.signal.aborted
      learn(broken ? brokenOff('broken off before the final dot') : opened.outcome)
      tries.push({ ...tried, took: Math.round(performance.now() - begun), phase: opened.phase, problem: opened.outcome.text })
      if (opened.outcome.status === 'bounced') remaining = remaining.filter((recipient) => request.anotherHost?.(recipient, opened.outcome))
      return opened.inClear && !broken
    }
    const { connection } = opened.session
    const done = await runTransaction(request, opened.session, opened.peer, remaining)
    for (const [n, outcome] of done.outcomes) outcomes.set(n, outcome)
    void connection.write('QUIT\r\n', 1000).catch(() => {})
    connection.close()
    const trouble = [...done.outcomes.values()].find((outcome) => outcome.status !== 'delivered')
    tries.push({
      ...tried, took: Math.round(performance.now() - begun), tls: opened.peer.tls, phase: done.phase, dotSent: done.dotSent, problem: trouble?.text ?? null,
    })
    remaining = remaining.filter((recipient) => {
      const outcome = done.outcomes.get(recipient.n)!
      return !isFinal(outcome) || (outcome.status === 'bounced' && request.anotherHost?.(recipient, outcome))
    })
    return false
  }
}

/** Nothing further is tried in this attempt: settled, fenced, or the dot was sent and nobody knows. */
function isFinal(outcome: Outcome): boolean {
  return outcome.status !== 'deferred' || outcome.phase === 'policy' || (outcome.phase === 'dot' && outcome.reply === null)
}

function startTry(host: string, address: string | null, port: number): HostTry {
  return { host, address, port, at: new Date().toISOString(), took: 0, tls: null, phase: 'connect' as Phase, dotSent: false, problem: null }
}

function result(outcomes: Map<number, Outcome>, tries: HostTry[]): AttemptResult {
  return { outcomes: Object.fromEntries(outcomes), tries, dotSent: tries.some((tried) => tried.dotSent) }
}
