// Does what an operator asks of messages, for the command line, the API and the page: written in Postgres, a page of messages at a time. Attempts
// are stopped by that alone; the workflows are told after it, and need not hear it.

import { randomUUID } from 'node:crypto'
import type { ControlRequest, ControlResult } from '../mail/control.ts'
import { type Asked, type ControlOrder, type Controlled, controlMessages } from '../store/control.ts'
import { isOfData, isRowTaken, type Sql, whenBack } from '../store/database.ts'
import type { Retention } from '../store/recipients.ts'

/** Messages in a transaction: their rows are kept from attempts while it lasts. */
const page = 100
/** Milliseconds for which a Postgres that is away, or a lost race, is waited out. */
const patience = 10_000
/** Messages whose workflows are woken by whoever asked: of more, the outbox wakes as many as Temporal keeps up with. */
const woken = 40

export interface ControlDeps {
  sql: Sql
  retention: Retention
}

export interface Told {
  done: string[]
  /** Of those done, the messages with recipients that were left alone, since their final dot was sent, and these. */
  busy: { id: string; paths: string[] }[]
  refused: { id: string; why: string }[]
}

/** Throws when the database is away. Tells how far it is after each page. */
export async function controlAll(deps: ControlDeps, order: ControlOrder, asked: Asked[], tell: (told: Told) => void = () => {}): Promise<Told> {
  const told: Told = { done: [], busy: [], refused: [] }
  for (let i = 0; i < asked.length; i += page) {
    for (const [id, answer] of await controlPage(deps, order, asked.slice(i, i + page))) {
      if ('refused' in answer) told.refused.push({ id, why: answer.refused })
      else {
        told.done.push(id)
        if (answer.result.busy.length > 0) told.busy.push({ id, paths: answer.result.busy })
      }
    }
    tell(told)
  }
  return told
}

export async function controlOne(deps: ControlDeps, id: string, { recipients = null, ...order }: ControlRequest): Promise<ControlResult | { refused: string }> {
  const [, answer] = (await controlPage(deps, order, [{ id, recipients }]))[0]!
  return 'refused' in answer ? answer : answer.result
}

/** Where one message fails, the others are asked without it. */
async function controlPage({ sql, retention }: ControlDeps, order: ControlOrder, asked: Asked[]): Promise<[string, Controlled][]> {
  const update = randomUUID()
  try {
    const answers = await whenBack(() => controlMessages(sql, asked, order, update, retention), { limit: patience })
    return asked.map(({ id }) => [id, answers.get(id) ?? { refused: `there is no message ${id}` }])
  } catch (error) {
    const why = faultOfRow(error)
    if (why === null) throw error
    if (asked.length === 1) return [[asked[0]!.id, { refused: why }]]
    const answers: [string, Controlled][] = []
    for (const each of asked) answers.push(...await controlPage({ sql, retention }, order, [each]))
    return answers
  }
}

/** Of those that were reached, the messages whose workflows are to be woken at once. */
export function toWake({ done }: Told): string[] {
  return done.slice(0, woken)
}

/** What speaks against one message, and not against the others; null when it is something else. */
function faultOfRow(error: unknown): string | null {
  if (isRowTaken(error)) return 'its row in Postgres is kept by somebody else: ask again'
  return isOfData(error) ? `it cannot be stored: ${(error as Error).message}` : null
}
