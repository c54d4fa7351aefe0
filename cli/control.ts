// everpost hold, release, retry, reroute, expire, bounce, drop, set-lifetime: on ids or on all that match, many at a time.

import { controlAll, type Told, toWake } from '../console/control.ts'
import { byRecipient, type ControlAction, faultOf, refusalOf } from '../mail/control.ts'
import type { Settings } from '../settings/schema.ts'
import type { ControlOrder } from '../store/control.ts'
import type { Sql } from '../store/database.ts'
import { chooseMessages, choosesRecipients, type Chosen, concerning, countMatching, isEmpty, type QueueFilter } from '../store/filter.ts'
import { readMessage } from '../store/messages.ts'
import { type ChooseOptions, choosingOptions, filterOf } from './choose.ts'
import { confirm, messages } from './confirm.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError } from './errors.ts'
import { address, table } from '../console/format.ts'
import { sysexits } from '../mail/sysexits.ts'
import { wakeMessages } from './wake.ts'

export interface ControlOptions extends ChooseOptions {
  /** For reroute: `none` goes back to what the settings and DNS say. */
  to?: string
  /** For set-lifetime, in milliseconds. */
  lifetime?: number
  dryRun?: boolean
  yes?: boolean
  who: string
  why: string
  json?: boolean
}

/** Messages read from the database at a time. */
const page = 1000
const shown = 20

export async function control(file: string | undefined, action: ControlAction, ids: string[], options: ControlOptions): Promise<void> {
  const { settings } = loadContext(file)
  const order: ControlOrder = {
    action, who: options.who, why: options.why,
    ...(action === 'reroute' ? { nextHop: options.to === 'none' ? null : options.to } : {}),
    ...(action === 'set-lifetime' ? { lifetime: options.lifetime } : {}),
  }
  const fault = refusalOf(order)
  if (fault) throw new CommandError(fault, sysexits.usage)
  await withDatabase(settings, async (sql) => {
    const filter = concerning(await filterOf(sql, settings, ids, options), action)
    if (isEmpty(filter)) {
      throw new CommandError(`name messages by their queue ids, or choose with ${choosingOptions}; --sender '*' means every message`, sysexits.usage)
    }
    const count = await countMatching(sql, filter)
    if (count === 0 && ids.length === 0) return await tellNothing(sql, filter, action, options)
    if (options.dryRun) return await preview(sql, filter, action, count, options)
    if (!options.yes && ids.length === 0) await confirm(action, count)
    const asked = await inPages(sql, settings, filter, count, order)
    const reached = [...asked.done, ...asked.refused.map(({ id }) => id)]
    const result: Told = { ...asked, refused: [...asked.refused, ...await unreached(sql, filter, action, reached)] }
    if (options.json) console.log(JSON.stringify({ action, ...result }, null, 2))
    else print(action, result)
    if (result.refused.length > 0) process.exitCode = 1
    await wakeMessages(settings, toWake(asked))
  })
}

/** Nothing is left to do, and that is no error where the same was said before, and workers have yet to settle it. */
async function tellNothing(sql: Sql, filter: QueueFilter, action: ControlAction, { json }: ControlOptions): Promise<void> {
  const settling = filter.owed ? await countMatching(sql, { ...filter, owed: false }) : 0
  if (settling === 0) throw new CommandError('nothing that is queued matches')
  if (json) console.log(JSON.stringify({ action, done: [], busy: [], refused: [] }, null, 2))
  else console.log(`${action}: nothing to do; ${messages(settling)} on the way out already.`)
}

/** Of the messages that were named by id, those that were not reached, and why. */
async function unreached(sql: Sql, { ids }: QueueFilter, action: ControlAction, reached: string[]): Promise<Told['refused']> {
  const rest = new Set(ids)
  for (const id of reached) rest.delete(id)
  return await Promise.all([...rest].map(async (id) => {
    const message = await readMessage(sql, id)
    if (!message) return { id, why: 'there is no message with this id' }
    return { id, why: faultOf({ state: message.state, held: message.heldAt !== null }, action) ?? 'it is queued, but the options do not match it' }
  }))
}

async function preview(sql: Sql, filter: QueueFilter, action: ControlAction, count: number, options: ControlOptions): Promise<void> {
  const rows = await chooseMessages(sql, filter, '', options.json || filter.ids ? count : shown, !byRecipient(action))
  const refused = await unreached(sql, filter, action, rows.map(({ id }) => id))
  if (refused.length > 0) process.exitCode = 1
  if (options.json) return console.log(JSON.stringify({ action, count, messages: rows, ...(refused.length > 0 ? { refused } : {}) }, null, 2))
  tellRefused(action, refused)
  if (rows.length > 0) console.log(table(rows.slice(0, shown).map((row) => [row.id, address(row.reversePath), recipientsOf(row)])))
  if (count > shown) console.log(`and ${count - shown} more`)
  console.log(`${action} would reach ${messages(count)}; nothing was changed.`)
}

function recipientsOf(row: Chosen): string {
  const more = row.recipients.length - row.forwardPaths.length
  return `${row.forwardPaths.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

/** Pages by id, so that each message is reached once though the actions change what matches. */
async function inPages(sql: Sql, { retention }: Settings, filter: QueueFilter, count: number, order: ControlOrder): Promise<Told> {
  const result: Told = { done: [], busy: [], refused: [] }
  const single = byRecipient(order.action) && choosesRecipients(filter)
  let told = Date.now()
  for (let after = ''; ;) {
    const rows = await chooseMessages(sql, filter, after, page)
    if (rows.length === 0) return result
    after = rows.at(-1)!.id
    const asked = rows.map(({ id, recipients }) => ({ id, recipients: single ? recipients : null }))
    const { done, busy, refused } = await controlAll({ sql, retention }, order, asked, (now) => {
      if (Date.now() - told < 1000) return
      told = Date.now()
      process.stderr.write(`${[result, now].reduce((sum, { done, refused }) => sum + done.length + refused.length, 0)} of ${count}\n`)
    })
    result.done.push(...done)
    result.busy.push(...busy)
    result.refused.push(...refused)
  }
}

function tellRefused(action: ControlAction, refused: Told['refused']): void {
  for (const { id, why } of refused.slice(0, shown)) console.error(`${id}: ${action} refused: ${why}`)
  if (refused.length > shown) console.error(`and ${refused.length - shown} more refused`)
}

function print(action: ControlAction, { done, busy, refused }: Told): void {
  tellRefused(action, refused)
  for (const { id, paths } of busy.slice(0, shown)) console.error(`${id}: the reply to the final dot is awaited for ${paths.join(', ')}, left alone until then`)
  if (busy.length > shown) console.error(`and ${busy.length - shown} more with recipients past their final dot`)
  console.log(`${action}: ${messages(done.length)} done${refused.length > 0 ? `, ${refused.length} refused` : ''}.`)
}
