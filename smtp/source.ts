// Our end of an outbound connection: the address that it is made from, and the name that goes with it in EHLO.

import { createSocket } from 'node:dgram'
import { isSocketPath } from '../mail/route.ts'
import { familyOf } from './families.ts'

export interface Source {
  /** For connections to IPv4 addresses, and to IPv6 addresses; without it the machine's routing decides. */
  ipv4?: string | undefined
  ipv6?: string | undefined
  /** Our name in EHLO; without it that of the installation. */
  hostname?: string | undefined
}

/** The address that a connection to `address` is made from; undefined: the machine's routing decides. */
export function sourceFor(source: Source, address: string): string | undefined {
  return isSocketPath(address) ? undefined : source[familyOf(address)]
}

/** Why no connection can be made from this address of ours, as the machine says it; null: one can. Sends nothing. */
export async function bindProblem(address: string): Promise<string | null> {
  const socket = createSocket(familyOf(address) === 'ipv4' ? 'udp4' : 'udp6')
  try {
    return await new Promise((resolve) => {
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(noSource(error)))
      socket.bind({ address, port: 0 }, () => resolve(null))
    })
  } finally {
    socket.close()
  }
}

/** The error of a bind, in words. */
export function noSource({ code = 'unknown' }: NodeJS.ErrnoException): string {
  return code === 'EADDRNOTAVAIL' ? `this machine has no such address (${code})` : `this machine cannot use it (${code})`
}
