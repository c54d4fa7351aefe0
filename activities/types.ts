// What passes between the workflow and its activities. Types only: the workflow may import nothing else from here.

import type { ControlRequest, ControlResult } from '../mail/control.ts'
import type { HostTry, Status } from '../mail/outcome.ts'
import type { Progress } from '../mail/progress.ts'

/** Recipients with one next hop, by the routes or by an operator's word: they share a transaction. */
export interface Group {
  /** As logs and listings name it: `mx.example`, `[relay]:2525`, `maildir:example.test`. TLS and AUTH go by it, and are looked up by whoever attempts. */
  nextHop: string
  /** What limits, suspensions and circuits go by: mail/destination.ts. */
  destination: string
  recipients: number[]
  /**
   * The next hop that an operator had chosen for all of them when it was planned; null: none. Who is sent another way since is the group's no
   * more. Left out by older workers, and then not checked.
   */
  route?: string | null
  agent: 'smtp' | 'lmtp' | 'maildir' | 'pipe'
  /** For smtp and lmtp: names or addresses in the order to try. For lmtp with port 0: the path of a Unix socket. */
  hosts: string[]
  port: number
  /** DNS alone has named the hosts: no route, and no operator. Left out by older workers. */
  byDns?: true
  /** For lmtp: whether Return-Path is ours to write. */
  returnPath: boolean
}

/** Whatever goes by the time is told the workflow's clock, in milliseconds since 1970: what is due by it is due. */
export interface MessageArgument {
  id: string
  clock: number
}

/** A recipient as the tables know it; what is null is left out of the history. */
export interface StampedRecipient {
  n: number
  forwardPath: string
  state?: 'delivered' | 'bouncing' | 'failed'
  text?: string
  nextAttemptAt?: string
}

export interface Stamped {
  acceptedAt: number
  expiresAt: number
  /** When the delay report is due; null when it is made, or never. */
  delayAt: number | null
  reversePath: string
  /** The first recipients of the envelope; more stay in Postgres. */
  recipients: StampedRecipient[]
  recipientCount: number
  /** Whether Temporal holds our search attributes, so that they may be set; left out by older workers. */
  searchable?: boolean
}

export interface Plan {
  groups: Group[]
  /** More is due than fits into one plan. */
  more: boolean
  /** `nextAt` leaves out the recipients of the groups and those that are busy. */
  progress: Progress
  /** Attempts that ended here, since no next hop was found. */
  attempts: AttemptSummary[]
}

/** What the workflow keeps of an attempt, for its status query; the whole record is in Postgres. */
export interface AttemptSummary {
  number: number
  at: string
  nextHop: string
  tries: HostTry[]
  /** Of the recipients that the workflow knows by address. */
  outcomes: { n: number; status: Status; enhanced: string; text: string; nextAttemptAt: string | null }[]
  /** Of all others: how many came to what, and what one of them was told; left out: there are none. */
  others?: { status: Status; count: number; text: string }[]
}

/** What became of a message in its first pass. */
export interface FirstPass {
  stamped: Stamped
  /** `nextAt` leaves out the recipients of the groups in `moved`. */
  progress: Progress
  /** The attempts that ended. */
  attempts: AttemptSummary[]
  /** What is due and was not tried to its end: it goes on as activities of its own. */
  moved: Group[]
  /** More is due than fits into one pass. */
  more: boolean
}

export interface Attempted {
  progress: Progress
  /** null when no recipient was left to try. */
  attempt: AttemptSummary | null
}

export interface AttemptArgument extends MessageArgument {
  group: Group
}

export interface LookArgument extends MessageArgument {
  /** Recipients with attempts under way, which are left out. */
  busy: number[]
}

export interface DsnArgument extends MessageArgument {
  /** The queue lifetime is over: whoever is still queued is settled as expired. */
  expire: boolean
  /** It is time for the delay report. */
  delayed: boolean
  /** Recipients with attempts under way, which do not expire; left out: none. */
  busy?: number[]
}

export interface DsnSent {
  progress: Progress
  /** Positions of the recipients that are now failed for good, as far as a workflow knows them by address. */
  failed: number[]
}

export interface ControlArgument {
  id: string
  /** Names the asking, so that it is done once though the activity may run twice. */
  update: string
  request: ControlRequest
}

/** What was done and how far the message has come with it, or why not. */
export type Controlled = { result: ControlResult; progress: Progress } | { refused: string }

export interface MessageActivities {
  // null: nothing is left to be done.
  firstPass(argument: MessageArgument): Promise<FirstPass | null>
  stampHeaders(argument: MessageArgument): Promise<Stamped | null>
  resolveNextHop(argument: LookArgument): Promise<Plan>
  attemptTransfer(argument: AttemptArgument): Promise<Attempted>
  handOff(argument: AttemptArgument): Promise<Attempted>
  sendDsn(argument: DsnArgument): Promise<DsnSent>
  control(argument: ControlArgument): Promise<Controlled>
}
