// Group commit: messages that come at the same time are stored in one transaction. One that comes alone is stored at once.

import { acceptMessage, acceptMessages, type NewMessage } from '../store/accept.ts'
import { isOfData, type Sql } from '../store/database.ts'

/** Resolves when the message is committed; rejects as acceptMessage does. */
export type Store = (message: NewMessage) => Promise<void>

/** Milliseconds for which the next messages gather behind a transaction; one that lasts longer does not hold them up. */
const turn = 20
/** Transactions at a time. */
const atOnce = 3
/** Messages, and octets of small bodies, in one transaction. */
const mostMessages = 50
const mostOctets = 1024 * 1024

interface Waiting {
  message: NewMessage
  stored: () => void
  failed: (error: unknown) => void
}

/** `committed` is told of each message, and when it was accepted, by the clock of Postgres. */
export function createGroupCommit(sql: Sql, committed?: (message: NewMessage, at: Date) => void): Store {
  const waiting: Waiting[] = []
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
      const at = await acceptMessages(sql, group.map(({ message }) => message))
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

  // A large body has its own transaction: what it costs, it costs by its size.
  return (message) => (message.body === 'uploaded' ? acceptMessage(sql, message) : new Promise((stored, failed) => {
    waiting.push({ message, stored, failed })
    go()
  }))
}
