// Who may send to whom. No open relay: without AUTH or a trusted network only local domains are taken.

import { BlockList, isIPv4, isIPv6 } from 'node:net'
import { domainOf, splitAddress } from '../mail/address.ts'
import type { Settings } from '../settings/schema.ts'

/** An IPv4 address that came in IPv6's clothes, as itself. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '')
}

export interface RelayPolicy {
  /** Whether a client at this address may relay without AUTH. */
  trusts(address: string): boolean
  /** Whether mail for this forward-path ends here. */
  isLocal(forwardPath: string): boolean
}

export function relayPolicy(settings: Settings): RelayPolicy {
  const networks = new BlockList()
  for (const network of settings.relayNetworks) {
    const [address, bits] = network.split('/') as [string, string | undefined]
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    if (bits === undefined) networks.addAddress(address, family)
    else networks.addSubnet(address, Number(bits), family)
  }
  return {
    trusts(address) {
      const plain = plainAddress(address)
      return isIPv4(plain) ? networks.check(plain, 'ipv4') : isIPv6(plain) && networks.check(plain, 'ipv6')
    },
    isLocal: (forwardPath) => Object.hasOwn(settings.localDomains, domainOf(forwardPath)),
  }
}

/** `<postmaster>` without a domain reaches the postmaster of this system (RFC 5321 section 4.5.1). */
export function completeAddress(address: string, settings: Settings): string {
  if (splitAddress(address).domain !== '' || address.toLowerCase() !== 'postmaster') return address
  return `postmaster@${Object.keys(settings.localDomains)[0] ?? settings.hostname}`
}
