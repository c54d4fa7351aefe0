// Addresses at which we listen ourselves: what DNS sends there would be accepted and sent again, until it has too many hops.

import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { familyOf } from './families.ts'

/**
 * Whether a connection from here to this address and port would reach one of the listeners. One whose address is a host name is passed over,
 * as is a Unix socket.
 */
export function leadsToUs(address: string, port: number, listeners: { address: string; port?: number | undefined }[]): boolean {
  const ours = listeners.filter((listener) => listener.port === port && isIP(listener.address) !== 0)
  if (ours.length === 0) return false
  const own = new BlockList()
  const add = (each: string) => own.addAddress(each, familyOf(each))
  // As a destination they mean this machine (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.2).
  add('0.0.0.0')
  add('::')
  for (const { address } of ours) {
    const wild = address === '::' ? ['IPv4', 'IPv6'] : address === '0.0.0.0' ? ['IPv4'] : []
    if (wild.length === 0) add(address)
    else own.addSubnet('127.0.0.0', 8)
    // Whoever names localhost means this machine, in one family or the other.
    if (wild.length > 0 || address === '127.0.0.1' || address === '::1') for (const each of ['127.0.0.1', '::1']) add(each)
    for (const each of Object.values(networkInterfaces()).flatMap((of) => of ?? [])) if (wild.includes(each.family)) add(each.address)
  }
  // An IPv4 address in the clothes of IPv6 is looked up as what it is.
  return own.check(address, familyOf(address))
}
