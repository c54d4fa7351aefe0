// Does what an operator asks of messages, for the command line, the API and the page: written in Postgres, a page of messages at a time. Attempts
// are stopped by that alone; the workflows are told after it, and need not hear it.

import { randomUUID } from 'node:crypto'
import type { ControlRequest, ControlResult } from '../mail/control.ts'
import { type Asked, type ControlOrder, type Controlled, controlMessages, refusedData } from '../store/control.ts'
import { isRowTaken, type Sql, whenBack } from '../store/database.ts'
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
  const kept: Asked[] = []
  const note = (id: string, answer: Controlled) => {
    if ('refused' in answer) return void told.refused.push({ id, why: answer.refused })
    told.done.push(id)
    if (answer.result.busy.length > 0) told.busy.push({ id, paths: answer.result.busy })
  }
  for (let i = 0; i < asked.length; i += page) {
    for (const [each, answer] of await controlPage(deps, order, asked.slice(i, i + page))) {
      if (answer === null) kept.push(each)
      else note(each.id, answer)
    }
    tell(told)
  }
  // Last of all, so that no other waits for them.
  for (const each of kept) note(each.id, await controlPatiently(deps, order, each))
  return told
}

export async function controlOne(deps: ControlDeps, id: string, { recipients = null, ...order }: ControlRequest): Promise<ControlResult | { refused: string }> {
  const answer = await controlPatiently(deps, order, { id, recipients })
  return 'refused' in answer ? answer : answer.result
}

/** Where one message fails, the others are asked without it. null: somebody keeps its row. */
async function controlPage(deps: ControlDeps, order: ControlOrder, asked: Asked[]): Promise<[Asked, Controlled | null][]> {
  const answers = await answersTo(deps, order, asked, 300)
  if (answers instanceof Map) return asked.map((each) => [each, answers.get(each.id) ?? unknown(each)])
  if (asked.length === 1) return [[asked[0]!, answers]]
  const each: [Asked, Controlled | null][] = []
  for (const one of asked) each.push(...await controlPage(deps, order, [one]))
  return each
}

async function controlPatiently(deps: ControlDeps, order: ControlOrder, asked: Asked): Promise<Controlled> {
  const answers = await answersTo(deps, order, [asked])
  if (answers instanceof Map) return answers.get(asked.id) ?? unknown(asked)
  return answers ?? { refused: 'its row in Postgres is kept by somebody else: ask again' }
}

const unknown = ({ id }: Asked): Controlled => ({ refused: `there is no message ${id}` })

/** `wait`: milliseconds for a row that somebody keeps, left out: as controlMessages waits. What speaks against one message of them, and no other try would mend; null: a row is kept. */
async function answersTo({ sql, retention }: ControlDeps, order: ControlOrder, asked: Asked[], wait?: number): Promise<Map<string, Controlled> | { refused: string } | null> {
  const update = randomUUID()
  const fault = (error: unknown) => (isRowTaken(error) ? null : refusedData(error))
  return await whenBack(() => controlMessages(sql, asked, order, update, retention, wait).catch(fault), { limit: patience })
}

/** Of those that were reached, the messages whose workflows are to be woken at once. */
export function toWake({ done }: Told): string[] {
  return done.slice(0, woken)
}
