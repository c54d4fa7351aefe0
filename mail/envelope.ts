// The envelope: what SMTP says about a message, apart from its bytes (RFC 5321 section 2.3.1).

/** As declared (RFC 6152, RFC 3030). */
export type DeclaredBody = '7BIT' | '8BITMIME' | 'BINARYMIME'
/** 8BIT: there are octets above 127, which nobody declared. */
export type BodyType = DeclaredBody | '8BIT'
/** RFC 3461 section 4.1. */
export type Notify = 'NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY'
/** RFC 3461 section 4.3. */
export type Ret = 'FULL' | 'HDRS'

export interface Recipient {
  /** Position in the envelope from 0; with the queue id it names the recipient for good. */
  n: number
  /** The forward-path without angle brackets and source route, as it was sent. */
  forwardPath: string
  /** Empty when the client said nothing. */
  notify: Notify[]
  /** `addr-type;xtext`, undecoded; null when the client said nothing. */
  orcpt: string | null
  /** Its own reverse-path (mail/verp.ts); left out or null: the envelope's. */
  verp?: string | null
  /** An alias whose success is to be reported, and which stands for so many addresses: they get the message, it does not. */
  expanded?: number
}

export interface Envelope {
  /** "" is the null reverse-path. */
  reversePath: string
  recipients: Recipient[]
  body: BodyType
  smtpUtf8: boolean
  /** RFC 8689. */
  requireTls: boolean
  ret: Ret | null
  envid: string | null
  /** Each recipient is to get a reverse-path of its own, with these two delimiters. */
  verp?: string | null
}

export interface Tls {
  /** As Node names it: "TLSv1.3". */
  version: string
  cipher: string
  /** Inbound: always false. Outbound: the peer's certificate chain and name were verified. */
  verified: boolean
}

/** Who handed the message to us, and how: what the Received field is made of (RFC 5321 section 4.4). */
export interface Origin {
  /** The `with` clause's word (RFC 3848, RFC 6531 section 4.3; HTTP for the API); "" for a message that we composed. */
  protocol: '' | 'HTTP' | 'SMTP' | `${'ESMTP' | 'LMTP' | 'UTF8SMTP' | 'UTF8LMTP'}${'' | 'A' | 'S' | 'SA'}`
  /** The name the client gave in HELO, EHLO or LHLO. */
  helo: string
  clientAddress: string
  /** Reverse DNS of the client's address; null when there is none. */
  clientName: string | null
  tls: Tls | null
  /** The authenticated user, or null. */
  user: string | null
}
