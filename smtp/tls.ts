// What TLS is asked of a host: the policy of its route, with what that needs.

import type { SecureContext } from 'node:tls'
import type { TlsPolicy } from '../mail/route.ts'

export interface HostTls {
  /** Tells two contexts apart in the pool; "" where there is none. */
  id: string
  level: TlsPolicy
  /** TLS from the first octet, without STARTTLS (RFC 8314 section 3.3). */
  implicit: boolean
  /** Sent as SNI, and what the certificate must be for; null: the host's name. */
  servername: string | null
  minVersion: 'TLSv1.2' | 'TLSv1.3'
  /** Own CAs and client certificate; null: the CAs that Node trusts, and no certificate of ours. */
  context: SecureContext | null
}

/** For hosts that no route speaks of. */
export function plainTls(level: TlsPolicy): HostTls {
  return { id: '', level, implicit: false, servername: null, minVersion: 'TLSv1.2', context: null }
}
