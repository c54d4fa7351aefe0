// A DNS server for tests, on UDP: real packets, a zone that a test may change while it runs.

import { createSocket } from 'node:dgram'
import dnsPacket, { type Answer, type RecordType } from 'dns-packet'

/** By `name/TYPE`: the data of the records, or a fault. Names that stand nowhere do not exist. */
export type Zone = Record<string, (string | { preference: number; exchange: string })[] | 'SERVFAIL' | 'SILENT' | Odd>

/** An answer with this response code, of these records, cut off, or with an id that is off by so much. */
export interface Odd {
  rcode?: number
  answers?: Answer[]
  cutOff?: true
  idOff?: number
}

export interface DnsServer {
  /** As settings.dns.servers wants it. */
  server: string
  zone: Zone
  queries: string[]
  close(): Promise<void>
}

export async function startDnsServer(zone: Zone): Promise<DnsServer> {
  const socket = createSocket('udp4')
  const dns: DnsServer = { server: '', zone, queries: [], close: () => new Promise((resolve) => socket.close(() => resolve())) }
  socket.on('message', (packet, from) => {
    const query = dnsPacket.decode(packet)
    const { name, type } = query.questions![0]!
    const key = `${name.toLowerCase()}/${type}`
    dns.queries.push(key)
    const found = dns.zone[key]
    if (found === 'SILENT') return
    const exists = Object.keys(dns.zone).some((each) => each.startsWith(`${name.toLowerCase()}/`))
    const odd = found !== undefined && typeof found === 'object' && !Array.isArray(found) ? found : undefined
    const rcode = odd?.rcode ?? (found === 'SERVFAIL' ? 2 : exists ? 0 : 3)
    const answers = Array.isArray(found) ? found.map((data) => ({ name, type: type as RecordType, ttl: 0, data }) as Answer) : (odd?.answers ?? [])
    // RD and RA, then the response code in the last four bits.
    const flags = 0x0180 | (odd?.cutOff ? dnsPacket.TRUNCATED_RESPONSE : 0) | rcode
    socket.send(dnsPacket.encode({ type: 'response', id: query.id! ^ (odd?.idOff ?? 0), flags, questions: query.questions!, answers }), from.port, from.address)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  dns.server = `127.0.0.1:${socket.address().port}`
  return dns
}
