// Connections that wait for the next message to the same place: bounded in idle time, messages, age and number. One pool for each process.

import { ConnectionLost } from './connection.ts'
import { command, leave, type Session } from './session.ts'

export interface PoolLimits {
  /** Milliseconds that a connection may wait; 0: none is kept. */
  idle: number
  /** Milliseconds from its greeting on, after which it takes no further message. */
  age: number
  /** Messages on one connection. */
  messages: number
  /** Connections that wait at a time. */
  connections: number
}

export interface Pool {
  /** One that waited under this key and still stands; null when there is none. The key names all that makes two connections interchangeable. */
  take(key: string): Session | null
  /** Keeps it for the next message, or says QUIT when it has served its time. */
  give(key: string, session: Session): void
  /** The same, once `owed` replies are read and RSET is answered. Nobody waits for it. */
  reset(key: string, session: Session, owed: number): void
  /** Says QUIT to all; what is given afterwards is closed at once. */
  close(): void
}

/** Milliseconds for the replies to what nobody waits for. */
const resetLimit = 10_000

export function createPool(limits: PoolLimits): Pool {
  const waiting = new Map<Session, { key: string; timer: NodeJS.Timeout }>() // the longest waiting first
  const byKey = new Map<string, Session[]>() // the longest waiting first
  let closed = false

  function remove(session: Session): void {
    const { key, timer } = waiting.get(session)!
    clearTimeout(timer)
    waiting.delete(session)
    const left = byKey.get(key)!.filter((each) => each !== session)
    if (left.length > 0) byKey.set(key, left)
    else byKey.delete(key)
  }

  function drop(session: Session): void {
    remove(session)
    leave(session.connection)
  }

  function isGood({ connection, openedAt, transactions, extensions }: Session): boolean {
    // RFC 9422 section 4.1: MAILMAX bounds the MAIL commands of one session.
    const most = Math.min(limits.messages, limitOf(extensions, 'MAILMAX'))
    return !closed && limits.idle > 0 && connection.isQuiet() && transactions < most && performance.now() - openedAt < limits.age
  }

  function give(key: string, session: Session): void {
    if (!isGood(session)) {
      leave(session.connection)
      return
    }
    const timer = setTimeout(() => drop(session), limits.idle).unref()
    waiting.set(session, { key, timer })
    byKey.set(key, [...(byKey.get(key) ?? []), session])
    if (waiting.size > limits.connections) drop(waiting.keys().next().value!)
  }

  return {
    give,
    take(key) {
      for (let session = byKey.get(key)?.at(-1); session; session = byKey.get(key)?.at(-1)) {
        remove(session)
        if (isGood(session)) return session
        leave(session.connection)
      }
      return null
    },
    reset(key, session, owed) {
      void settle(session, owed).then((isReady) => (isReady ? give(key, session) : leave(session.connection)))
    },
    close() {
      closed = true
      for (const session of [...waiting.keys()]) drop(session)
    },
  }
}

/** Brings a session back to where it takes MAIL. False when it is of no more use. */
export async function settle({ connection }: Session, owed: number): Promise<boolean> {
  try {
    for (; owed > 0; owed--) {
      // A host that took DATA without a recipient waits for octets that never come (RFC 2920 section 3.1).
      if ((await connection.reply(resetLimit)).code === 354) return false
    }
    return (await command(connection, 'RSET', resetLimit)).code === 250
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw error
    return false
  }
}

/** A limit that the host's EHLO states by LIMITS (RFC 9422), such as RCPTMAX; Infinity when it states none. */
export function limitOf(extensions: ReadonlyMap<string, string>, name: 'MAILMAX' | 'RCPTMAX' | 'RCPTDOMAINMAX'): number {
  const stated = new RegExp(`(?:^| )${name}=(\\d{1,6})(?: |$)`, 'i').exec(extensions.get('LIMITS') ?? '')
  return stated && Number(stated[1]) > 0 ? Number(stated[1]) : Number.POSITIVE_INFINITY
}
