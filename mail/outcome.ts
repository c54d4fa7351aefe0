// What became of a recipient in an attempt. An outcome is a value: only broken infrastructure throws.

import type { Tls } from './envelope.ts'
import type { Reply } from './reply.ts'

export type Status = 'delivered' | 'deferred' | 'bounced'

/** The stage of an attempt at which its outcome was decided; retry rules and reports are told by it. */
export type Phase =
  | 'policy' // nothing reached the wire: broken off, overtaken, or no delivery agent any more
  | 'dns'
  | 'connect'
  | 'greeting'
  | 'ehlo'
  | 'tls'
  | 'auth'
  | 'mail'
  | 'rcpt'
  | 'data' // from the DATA command to just before the final dot
  | 'dot' // the final dot was sent: a loss here leaves the delivery unknown
  | 'local' // Maildir and pipe
  | 'queue' // decided without a next hop: by an operator, or an alias reported as expanded

export interface Outcome {
  status: Status
  phase: Phase
  /** The enhanced status code that reports and logs show (RFC 3463): the peer's own, or one chosen by us. */
  enhanced: string
  /** The peer's reply; null when we decided without one. */
  reply: Reply | null
  /** One line for people: the reply, or what went wrong. */
  text: string
  /** Name and address of the host that answered, when there was one. */
  host: string | null
  address: string | null
  tls: Tls | null
  /** Of a delivery by SMTP or LMTP: whether the next hop took over the sender's wishes for reports (RFC 3461 section 5.2.2: if not, SUCCESS is ours to report). */
  dsnPassedOn?: boolean
  /** The retry rule that had its say. */
  rule?: { name: string }
  /** Given up by the rule's `giveUpAfter`: reported as the end of a queue lifetime is. */
  givenUp?: true
}

/** One host that was tried in an attempt: kept whole in the attempt record. */
export interface HostTry {
  host: string
  /** null when its name had no address. */
  address: string | null
  port: number
  /** The address of ours that the settings give as source. */
  from?: string
  at: string // ISO 8601, UTC
  /** Milliseconds from the start of the connection to its end. */
  took: number
  tls: Tls | null
  /** The furthest stage that was reached. */
  phase: Phase
  dotSent: boolean
  /** One line: what ended it; null when it ended well. */
  problem: string | null
  /** The connection had carried an earlier message. */
  reused?: true
}

/** The result of one SMTP or LMTP attempt, or of one local hand-off. */
export interface AttemptResult {
  /** One for each recipient of the attempt, by its `n`. */
  outcomes: Record<number, Outcome>
  tries: HostTry[]
  dotSent: boolean
}
