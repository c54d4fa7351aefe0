// Networks that are trusted with something, and the addresses of clients in the form that is compared.

import { BlockList, isIPv4, isIPv6 } from 'node:net'

/** An address as everyone writes it (RFC 5952); an IPv4 address that came in IPv6's clothes, however they are cut, as itself. */
export function plainAddress(address: string): string {
  if (!isIPv6(address) || address.includes('%')) return address
  const short = new URL(`http://[${address}]/`).hostname.slice(1, -1)
  const [, high, low] = /^::ffff:(\w+):(\w+)$/.exec(short) ?? []
  return high === undefined || low === undefined ? short : [high, low].map((group) => Number.parseInt(group, 16)).flatMap((each) => [each >> 8, each & 255]).join('.')
}

/** Whether an address lies in one of these networks. */
export function inNetworks(networks: string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const network of networks) {
    const [address, bits] = network.split('/') as [string, string | undefined]
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  const known = new Map<string, boolean>() // a look into the list makes objects, and a client is asked for at every command
  return (address) => {
    const before = known.get(address)
    if (before !== undefined) return before
    // An IPv4 address in the clothes of IPv6 is looked up as what it is.
    const found = isIPv4(address) ? list.check(address, 'ipv4') : isIPv6(address) && list.check(address, 'ipv6')
    if (known.size >= 1000) known.clear()
    known.set(address, found)
    return found
  }
}

/** What counts as one client: an IPv4 address, or the /64 that is one IPv6 customer's to choose addresses from. */
export function clientOf(address: string): string {
  if (!isIPv6(address)) return address
  const [before, after] = address.toLowerCase().replace(/%.*$/, '').split('::') as [string, string | undefined]
  const groups = before === '' ? [] : before.split(':')
  const zeros = after === undefined ? 0 : 8 - groups.length - (after === '' ? 0 : after.split(':').length + (after.includes('.') ? 1 : 0))
  const whole = [...groups, ...Array.from({ length: zeros }, () => '0'), ...(after === undefined || after === '' ? [] : after.split(':'))]
  return `${whole.slice(0, 4).map((group) => group.replace(/^0+(?=.)/, '')).join(':')}::/64`
}
