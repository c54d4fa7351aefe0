// XCLIENT, as Postfix defines it: a trusted proxy says whom it speaks for. Believed from `trustedProxies` alone.

import { isIP } from 'node:net'
import { plainAddress } from './networks.ts'
import { type Reply, reply, syntaxError, wrongOrder } from './reply.ts'
import { banner, forget, type Session } from './session.ts'

export const xclientAttributes = ['NAME', 'ADDR', 'PORT', 'PROTO', 'HELO', 'LOGIN', 'DESTADDR', 'DESTPORT']

export async function xclient(session: Session, argument: string): Promise<Reply> {
  const { edge, client } = session
  if (!edge.isProxy(client.address)) return reply(550, '5.7.0', 'XCLIENT is for trusted proxies')
  if (session.transaction) return wrongOrder('A transaction is open')
  const given: Record<string, string | null> = {}
  for (const word of argument.split(/ +/)) {
    const [, name, value] = /^([A-Za-z]+)=(.+)$/.exec(word) ?? []
    if (name === undefined || !xclientAttributes.includes(name.toUpperCase())) return syntaxError(`Not an attribute: ${word.slice(0, 40)}`)
    given[name.toUpperCase()] = /^\[(UNAVAILABLE|TEMPUNAVAIL)\]$/i.test(value!) ? null : decoded(value!)
  }
  const address = plainAddress(given['ADDR']?.replace(/^IPV6:/i, '') ?? client.address)
  if (!isIP(address)) return syntaxError('ADDR is no IP address')
  const port = Number(given['PORT'] ?? client.port)
  if (!(port >= 0 && port <= 65535)) return syntaxError('PORT is no port')
  await forget(session)
  // The connection was counted for the proxy, and stays so: it is one of its connections.
  session.client = { address, port, name: 'NAME' in given ? Promise.resolve(given['NAME'] ?? null) : edge.reverse(address) }
  if (given['HELO']) session.helo = given['HELO']
  if (given['LOGIN']) session.user = { name: given['LOGIN'], addresses: [] }
  return banner(session)
}

/** xtext (RFC 3461 section 4), with nothing in it that a line could not hold. */
function decoded(text: string): string {
  return text.replace(/\+([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))).replace(/[^\x20-\x7e]/g, '?')
}
