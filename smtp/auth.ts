// AUTH to a relay host (RFC 4954): PLAIN, LOGIN, XOAUTH2. Secrets stay in here: what is handed back, replies included, holds none.

import type { Reply } from '../mail/reply.ts'
import type { Connection } from './connection.ts'
import { command } from './session.ts'

export type Mechanism = 'plain' | 'login' | 'xoauth2'

export interface Credentials {
  /** Tells two of them apart in the pool. */
  id: string
  user: string
  /** null: PLAIN or LOGIN, as the host offers. */
  mechanism: Mechanism | null
  /** Whether the secret may be sent without TLS. */
  clearText: boolean
  /** The password or token, read anew for each connection, so that a changed one takes. Rejects with what is wrong. */
  secret: () => Promise<string>
}

/** null when the host said 235; else its reply, or a line that says why it was not even asked. Rejects with ConnectionLost. */
export async function authenticate(
  connection: Connection, extensions: ReadonlyMap<string, string>, credentials: Credentials, limit: number,
): Promise<Reply | string | null> {
  if (!connection.tls && !credentials.clearText) {
    return 'AUTH would go in the clear. Set tls of the route to encrypt or verify, or auth.clearText to true if the line is safe'
  }
  const offered = (extensions.get('AUTH') ?? '').toLowerCase().split(/\s+/)
  const wanted: Mechanism[] = credentials.mechanism ? [credentials.mechanism] : ['plain', 'login']
  const mechanism = wanted.find((each) => offered.includes(each))
  if (!mechanism) return `the route has credentials for AUTH ${wanted.join(' or ')}, the host offers ${extensions.get('AUTH') || 'no AUTH'}`
  let secret: string
  try {
    secret = await credentials.secret()
  } catch (error) {
    return (error as Error).message
  }
  const { first, answers } = exchange(mechanism, credentials.user, secret)
  let reply = await command(connection, first, limit)
  for (const line of answers) {
    if (reply.code !== 334) break
    reply = await command(connection, line, limit)
  }
  const [, , initial = ''] = first.split(' ')
  return reply.code === 235 ? null : masked(reply, [secret, initial, ...answers])
}

/** The AUTH command, and what answers each 334. */
function exchange(mechanism: Mechanism, user: string, secret: string): { first: string; answers: string[] } {
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  if (mechanism === 'plain') return { first: `AUTH PLAIN ${base64(`\0${user}\0${secret}`)}`, answers: [] }
  if (mechanism === 'login') return { first: 'AUTH LOGIN', answers: [base64(user), base64(secret)] }
  // A refusal comes as 334 with its reason; an empty line asks for the reply itself.
  return { first: `AUTH XOAUTH2 ${base64(`user=${user}\x01auth=Bearer ${secret}\x01\x01`)}`, answers: [''] }
}

/** Characters in a row that a reply may not share with what was sent: of an encoded secret, at most three octets stay to be seen. */
const telling = 5

/** A host may echo what it was sent: `500 unknown command AUTH PLAIN AGJvYgB...`, cut short, or in capitals. */
function masked(reply: Reply, secrets: string[]): Reply {
  const lower = (text: string) => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase()) // keeps every character in its place
  const heard = lower(reply.text)
  const hidden = new Uint8Array(heard.length)
  for (const secret of secrets.filter((each) => each !== '').map(lower)) {
    const width = Math.min(telling, secret.length)
    for (let at = 0; at + width <= heard.length; at++) {
      if (secret.includes(heard.slice(at, at + width))) hidden.fill(1, at, at + width)
    }
  }
  return { ...reply, text: reply.text.replace(/./gs, (character, at: number) => (!hidden[at] ? character : hidden[at - 1] ? '' : '***')) }
}
