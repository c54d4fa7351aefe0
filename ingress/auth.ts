// AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN, under TLS unless a setting says otherwise.

import { isUtf8 } from 'node:buffer'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Reply, reply, syntaxError, wrongOrder } from './reply.ts'
import type { Session } from './session.ts'
import { offered } from './transaction.ts'
import { longestLine } from './wire.ts'

interface Credentials {
  name: string
  password: string
}

export async function auth(session: Session, argument: string): Promise<Reply> {
  const { edge } = session
  if (!edge.submission) return reply(502, '5.5.1', 'AUTH is not offered')
  if (session.greeted === null) return wrongOrder('Say EHLO first')
  if (session.user) return wrongOrder('You are authenticated already')
  if (session.transaction) return wrongOrder('A transaction is open')
  if (!offered(session).auth) return reply(538, '5.7.11', 'AUTH needs TLS: say STARTTLS first')
  const [mechanism = '', initial, ...more] = argument.split(' ')
  if (more.length > 0) return syntaxError('Write AUTH mechanism, or AUTH mechanism response')
  const exchange = mechanisms[mechanism.toUpperCase()]
  if (!exchange) return reply(504, '5.5.4', 'Mechanisms are PLAIN and LOGIN')
  const given = await exchange(session, initial)
  return 'code' in given ? given : await check(session, given)
}

const mechanisms: Record<string, (session: Session, initial: string | undefined) => Promise<Credentials | Reply>> = {
  async PLAIN(session, initial) {
    const response = await responseTo(session, '', initial)
    if (typeof response !== 'string') return response
    const [authorised, name, password, ...more] = response.split('\0')
    if (name === undefined || password === undefined || more.length > 0) return reply(501, '5.5.2', 'The response is not well formed')
    if (authorised !== '' && authorised !== name) return reply(535, '5.7.8', 'Nobody may act for another')
    return { name, password }
  },
  async LOGIN(session, initial) {
    const name = await responseTo(session, 'Username:', initial)
    if (typeof name !== 'string') return name
    const password = await responseTo(session, 'Password:', undefined)
    return typeof password === 'string' ? { name, password } : password
  },
}

/** The client's answer, decoded: given with the command, or asked for. */
async function responseTo({ wire }: Session, challenge: string, initial: string | undefined): Promise<string | Reply> {
  let text = initial === '=' ? '' : initial
  if (text === undefined) {
    wire.say(reply(334, null, Buffer.from(challenge).toString('base64')))
    const line = await wire.line(longestLine)
    if ('problem' in line) return reply(500, '5.5.6', 'The response is too long, or no line')
    text = line.octets.toString('latin1')
    if (text === '*') return reply(501, '5.7.0', 'Authentication was cancelled')
  }
  const octets = Buffer.from(text, 'base64')
  if (octets.toString('base64') !== text || !isUtf8(octets)) return reply(501, '5.5.2', 'The response is not base64')
  return octets.toString('utf8')
}

async function check(session: Session, { name, password }: Credentials): Promise<Reply> {
  const { edge, client } = session
  const { log, counters, limits } = edge
  let user: Session['user']
  try {
    user = await edge.users.authenticate(name, password)
  } catch (error) {
    log.error({ client: client.address, error: String(error) }, 'authentication is not possible')
    return reply(454, '4.7.0', 'Authentication is not possible now; try again later')
  }
  if (user) {
    session.user = user
    counters.count('auth.succeeded')
    return reply(235, '2.7.0', 'Welcome')
  }
  counters.count('auth.failed')
  log.warn({ client: client.address, user: name.slice(0, 100) }, 'authentication failed')
  session.authFailures++
  await sleep(limits.authFailed(client.address))
  if (session.authFailures >= edge.settings.limits.authFailures) return reply(421, '4.7.0', 'Too many failed authentications')
  return reply(535, '5.7.8', 'Authentication failed')
}
