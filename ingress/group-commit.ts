// Group commit: messages that come at the same time are stored in one transaction. One that comes alone is stored at once.

import { acceptMessage, acceptMessages, type NewMessage } from '../store/accept.ts'
import { isOfData, type Sql } from '../store/database.ts'

/**
 * Resolves when the message is committed; rejects as acceptMessage does, and when it has waited for its turn too long, or its client
 * is `gone` by then: it is not stored, nor will it be.
 */
export type Store = (message: NewMessage, gone?: () => boolean) => Promise<void>

/** Milliseconds for which the next messages gather behind a transaction; one that lasts longer does not hold them up. */
const turn = 20
/** Transactions at a time: as many connections are of use. */
export const atOnce = 3
/** Messages, and octets of small bodies, in one transaction. */
const mostMessages = 50
const mostOctets = 1024 * 1024
/** Milliseconds for a message to wait for its turn, while Postgres takes its time: RFC 5321 section 4.5.3.2.6 has clients wait ten minutes, and many wait less. */
const patience = 60_000
/** Milliseconds between two looks at those that wait. */
const interval = 1000

interface Waiting {
  message: NewMessage
  gone: () => boolean
  /** By performance.now(). */
  since: number
  stored: () => void
  failed: (error: unknown) => void
}

interface GroupCommitOptions {
  sql: Sql
  /** For what is small: its statements end by themselves when Postgres does not get them done. Left out: `sql`. */
  accepting?: Sql | undefined
  /** Told of each small message, and when it was accepted, by the clock of Postgres. */
  committed?: ((message: NewMessage, at: Date) => void) | undefined
  longest?: number
}

export function createGroupCommit({ sql, accepting = sql, committed, longest = patience }: GroupCommitOptions): Store {
  const waiting: Waiting[] = []
  let looking = false
  let underWay = 0
  let taken = false // a transaction has its turn

  function go(): void {
    if (taken || underWay === atOnce || waiting.length === 0) return
    taken = true
    underWay++
    let mine = true
    const pass = () => {
      if (mine) taken = mine = false
      go()
    }
    const timer = setTimeout(pass, turn)
    void commit(next()).finally(() => {
      clearTimeout(timer)
      underWay--
      pass()
    })
  }

  function next(): Waiting[] {
    let octets = 0
    const many = waiting.findIndex(({ message: { body } }, i) => {
      octets += body.length
      return i > 0 && (i === mostMessages || octets > mostOctets)
    })
    return waiting.splice(0, many < 0 ? waiting.length : many)
  }

  async function commit(group: Waiting[]): Promise<void> {
    try {
      const at = await acceptMessages(accepting, group.map(({ message }) => message))
      for (const each of group) {
        committed?.(each.message, at)
        each.stored()
      }
    } catch (error) {
      // What is wrong with the data of one message is not the others' business.
      if (group.length > 1 && isOfData(error)) for (const each of group) await commit([each])
      else for (const each of group) each.failed(error)
    }
  }

  /** Who is not stored in time is told so, and who has given up comes again: neither may be stored after that. */
  function look(): void {
    const before = performance.now() - longest
    for (const each of waiting.splice(0)) {
      const why = each.since < before ? 'Postgres is too slow' : each.gone() ? 'the client has gone' : null
      if (why) each.failed(new Error(why))
      else waiting.push(each)
    }
    looking = false
    lookLater()
  }

  function lookLater(): void {
    if (looking || waiting.length === 0) return
    looking = true
    setTimeout(look, interval)
  }

  // A large body has its own transaction: what it costs, it costs by its size.
  return (message, gone = () => false) => (message.body === 'uploaded' ? acceptMessage(sql, message) : new Promise((stored, failed) => {
    waiting.push({ message, gone, since: performance.now(), stored, failed })
    go()
    lookLater()
  }))
}
