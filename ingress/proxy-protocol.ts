// The PROXY protocol, versions 1 and 2: the real client's address, as a trusted proxy states it before the session begins.

import { isIP } from 'node:net'
import { plainAddress } from './networks.ts'

export type ProxyHeader =
  /** `client` null: the proxy speaks for itself (LOCAL, UNKNOWN), and its own address stands. */
  | { client: { address: string; port: number } | null; length: number }
  | 'incomplete'
  | 'wrong'

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const longestText = 107
const families: Record<number, number> = { 1: 4, 2: 16 } // octets of an address, by address family

/** Reads a header at the beginning of `octets`; `length` is its own, what follows belongs to the session. */
export function readProxyHeader(octets: Buffer): ProxyHeader {
  const compared = Math.min(octets.length, signature.length)
  if (compared === 0) return 'incomplete'
  return octets.subarray(0, compared).equals(signature.subarray(0, compared)) ? readBinary(octets) : readText(octets)
}

function readText(octets: Buffer): ProxyHeader {
  const end = octets.indexOf('\r\n')
  if (end < 0) return octets.length < longestText && 'PROXY '.startsWith(octets.toString('latin1', 0, Math.min(6, octets.length))) ? 'incomplete' : 'wrong'
  if (end + 2 > longestText) return 'wrong'
  const line = octets.toString('latin1', 0, end)
  if (/^PROXY UNKNOWN( |$)/.test(line)) return { client: null, length: end + 2 }
  const match = /^PROXY TCP([46]) (\S+) (\S+) (\d{1,5}) (\d{1,5})$/.exec(line)
  if (!match) return 'wrong'
  const [, family, address, to, port] = match as unknown as [string, string, string, string, string]
  if (isIP(address) !== Number(family) || isIP(to) !== Number(family) || Number(port) > 65535) return 'wrong'
  return { client: { address, port: Number(port) }, length: end + 2 }
}

function readBinary(octets: Buffer): ProxyHeader {
  if (octets.length < 16) return 'incomplete'
  const length = 16 + octets.readUInt16BE(14)
  if (octets[12]! >> 4 !== 2 || length > 4096) return 'wrong'
  if (octets.length < length) return 'incomplete'
  const command = octets[12]! & 15
  if (command === 0) return { client: null, length }
  if (command !== 1) return 'wrong'
  const family = octets[13]! >> 4
  const size = families[family]
  if (size === undefined) return { client: null, length } // unspecified, or a Unix socket at the proxy
  if (length < 16 + 2 * size + 4) return 'wrong'
  const source = octets.subarray(16, 16 + size)
  const address = size === 4 ? source.join('.') : plainAddress(source.toString('hex').match(/.{4}/g)!.join(':'))
  return { client: { address, port: octets.readUInt16BE(16 + 2 * size) }, length }
}
