// Whether a name really has no records of a type. Node's resolver says so of answers that it does not understand, too (response codes
// above 5, answers to something else), and for a name without records mail bounces: so it is asked again, and the packet looked at.

import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import dnsPacket, { type DecodedPacket, type RecordType } from 'dns-packet'

/**
 * Null: an answer without error that holds nothing but aliases (RFC 2308 section 2.2). Else what stands against it, as one word or a
 * few. `servers` as Node's Resolver lists them; `timeout`: milliseconds for each.
 */
export async function confirmNoData(servers: string[], timeout: number, name: string, type: RecordType): Promise<string | null> {
  let problem = 'no server'
  for (const server of servers) {
    try {
      problem = oddity(await ask(server, timeout, name, type)) ?? ''
      if (problem === '') return null
    } catch (error) {
      problem = (error as Error).message
    }
  }
  return problem
}

function oddity(packet: DecodedPacket): string | null {
  const { rcode } = packet as DecodedPacket & { rcode: string }
  if (rcode !== 'NOERROR') return rcode
  if (packet.flag_tc) return 'an answer that was cut off'
  const answers = packet.answers ?? []
  return answers.every((answer) => answer.type === 'CNAME' || answer.type === 'DNAME') ? null : 'an answer to something else'
}

/** By UDP alone: an empty answer is short. What is not the reply is passed over, since it may be forged, and the time goes on. */
function ask(server: string, timeout: number, name: string, type: RecordType): Promise<DecodedPacket> {
  const query = { type: 'query' as const, id: randomInt(65_536), flags: dnsPacket.RECURSION_DESIRED, questions: [{ type, name }] }
  const isReply = (packet: DecodedPacket) => {
    const asked = packet.questions?.[0]
    return packet.type === 'response' && packet.id === query.id && asked?.type === type && asked.name.toLowerCase() === name.toLowerCase()
  }
  const url = new URL(`dns://${isIPv6(server) ? `[${server}]` : server}`)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4')
  return new Promise<DecodedPacket>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no answer')), timeout)
    socket.on('error', reject).on('close', () => clearTimeout(timer)).on('message', (message) => {
      const packet = decoded(message)
      if (packet && isReply(packet)) resolve(packet)
    })
    socket.send(dnsPacket.encode(query), Number(url.port || 53), host)
  }).finally(() => socket.close())
}

function decoded(octets: Buffer): DecodedPacket | null {
  try {
    return dnsPacket.decode(octets)
  } catch {
    return null
  }
}
