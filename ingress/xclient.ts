// XCLIENT, as Postfix defines it: a trusted proxy says whom it speaks for, in one command or several. Believed from `trustedProxies` alone,
// and no longer once ADDR is given: from then on a proxy passes on what the client itself says.

import { isIP } from 'node:net'
import { plainAddress } from './networks.ts'
import { type Reply, reply, syntaxError, wrongOrder } from './reply.ts'
import { banner, forget, type Session } from './session.ts'
import type { User } from './submission.ts'

export const xclientAttributes = ['NAME', 'ADDR', 'PORT', 'PROTO', 'HELO', 'LOGIN', 'DESTADDR', 'DESTPORT']

export async function xclient(session: Session, argument: string): Promise<Reply> {
  const { edge, client } = session
  if (!session.told) return reply(550, '5.7.0', 'XCLIENT is for trusted proxies, until they have given ADDR')
  if (session.transaction) return wrongOrder('A transaction is open')
  const told = { ...session.told }
  for (const word of argument.split(/ +/)) {
    const [, name, value] = /^([A-Za-z]+)=(.+)$/.exec(word) ?? []
    if (name === undefined || !xclientAttributes.includes(name.toUpperCase())) return syntaxError(`Not an attribute: ${word.slice(0, 40)}`)
    told[name.toUpperCase()] = /^\[(UNAVAILABLE|TEMPUNAVAIL)\]$/i.test(value!) ? null : decoded(value!)
  }
  const address = plainAddress(told['ADDR']?.replace(/^IPV6:/i, '') ?? client.address)
  if (!isIP(address)) return syntaxError('ADDR is no IP address')
  const port = Number(told['PORT'] ?? client.port)
  if (!(port >= 0 && port <= 65535)) return syntaxError('PORT is no port')
  const user = told['LOGIN'] ? await vouchedFor(session, told['LOGIN']) : null
  if (user && 'code' in user) return user
  await forget(session)
  // The connection was counted for the proxy, and stays so: it is one of its connections. HELO needs no place here: an EHLO comes before MAIL.
  session.client = { address, port, name: 'NAME' in told ? Promise.resolve(told['NAME'] ?? null) : edge.reverse(address) }
  session.user = user
  session.told = 'ADDR' in told ? null : told
  return banner(session)
}

/** The proxy has asked for the password; who it is, and which addresses are theirs, is ours to know. */
async function vouchedFor({ edge, client }: Session, name: string): Promise<User | Reply> {
  try {
    const user = await edge.users.find(name)
    if (user) return user
  } catch (error) {
    edge.log.error({ client: client.address, error: String(error) }, 'a LOGIN cannot be looked up')
    return reply(454, '4.7.0', 'LOGIN cannot be looked up now; try again later')
  }
  edge.log.warn({ client: client.address, user: name.slice(0, 100) }, 'XCLIENT with a LOGIN that is no user')
  return reply(550, '5.7.8', 'LOGIN is no user of this server')
}

/** xtext (RFC 3461 section 4), with nothing in it that a line could not hold. */
function decoded(text: string): string {
  return text.replace(/\+([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))).replace(/[^\x20-\x7e]/g, '?')
}
