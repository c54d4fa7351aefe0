// everpost destination: what each next hop is owed, how it does, and an operator's word on it.

import { destinationName, type TypedName } from '../console/destination-name.ts'
import { moment, span, table } from '../console/format.ts'
import { limitInWords } from '../gate/limits.ts'
import { nextHopKey, nextHopOf } from '../mail/route.ts'
import { sysexits } from '../mail/sysexits.ts'
import type { Settings } from '../settings/schema.ts'
import { canonicalName, type DestinationRow, limitDestination, readDestinations, releaseWaiting, resumeDestination, suspendByWord } from '../store/destinations.ts'
import type { Sql } from '../store/database.ts'
import { type CommonReply, type DestinationSummary, repliesOf, summariseDestinations } from '../store/destination-traffic.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError } from './errors.ts'

export interface DestinationView extends DestinationSummary {
  state: 'ok' | 'limited' | 'suspended' | 'circuit open'
  /** Of the recipients whose attempts ended in this hour or the one before, the part delivered; null without any. */
  success: number | null
  control: DestinationRow | null
}

interface ShownDestination extends DestinationView {
  replies: CommonReply[]
}

export async function listDestinations(file: string | undefined, options: { json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const views = await withDatabase(settings, async (sql) => join(await summariseDestinations(sql), await readDestinations(sql)))
  if (options.json) console.log(JSON.stringify(views, null, 2))
  else if (views.length === 0) console.log('No destination is waited for, and none had traffic in this hour or the one before.')
  else console.log(table([['DESTINATION', 'STATE', 'QUEUED', 'OLDEST', 'SUCCESS', 'LAST'], ...views.map(line)]))
}

export async function showDestination(file: string | undefined, given: string, options: { json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const view = await withDatabase(settings, async (sql): Promise<ShownDestination | null> => {
    const { name } = await canonicalName(sql, given)
    const [found] = join(await summariseDestinations(sql, name), await readDestinations(sql, name))
    return found ? { ...found, replies: await repliesOf(sql, name) } : null
  })
  if (!view) throw new CommandError(`nothing is known of a destination ${given}. everpost destination list names those that are.`)
  console.log(options.json ? JSON.stringify(view, null, 2) : describe(view))
}

export async function suspend(file: string | undefined, given: string, options: { for: number; who: string; why: string }): Promise<void> {
  const { settings } = loadContext(file)
  const name = await withDatabase(settings, async (sql) => {
    const name = await nameOf(sql, settings, given)
    await suspendByWord(sql, name, { time: options.for, who: options.who, why: options.why, spread: settings.destinations.resumeOver })
    return name
  })
  console.log(`${name} is suspended until ${moment(new Date(Date.now() + options.for))}. Mail for it waits; everpost destination resume ${name} ends it.`)
}

export async function resume(file: string | undefined, given: string, options: { who: string }): Promise<void> {
  const { settings } = loadContext(file)
  await withDatabase(settings, async (sql) => {
    const { name } = await typed(sql, settings, given)
    const [row] = await readDestinations(sql, name)
    if (!row || !['suspended', 'circuit open'].includes(stateOf(row))) {
      throw new CommandError(`${name} is not suspended, nor is its circuit open (everpost destination list tells what is)`)
    }
    await resumeDestination(sql, name, options.who)
    const spread = settings.destinations.resumeOver
    const messages = await releaseWaiting(sql, name, spread)
    console.log(`${name} is resumed: ${messages} message${messages === 1 ? '' : 's'} that waited come${messages === 1 ? 's' : ''} within ${span(spread)}.`)
  })
}

export async function limit(file: string | undefined, given: string, options: { concurrency?: number; rate?: number; none?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  if ((options.concurrency === undefined && options.rate === undefined) === !options.none) {
    throw new CommandError('give --concurrency, --rate or both; or --none to go back to the settings', sysexits.usage)
  }
  const { name, concurrency, rate } = await withDatabase(settings, async (sql) => {
    const name = await nameOf(sql, settings, given)
    const limit = await limitDestination(sql, name, options.none ? { concurrency: null, rate: null } : options)
    // Those that wait were given times by the old limit.
    await releaseWaiting(sql, name, settings.destinations.resumeOver)
    return { name, ...limit }
  })
  console.log(options.none ? `${name} is limited as the settings say.` : `${name} is limited to ${limitInWords({ concurrency, rate })}, over all workers.`)
}

/** What was typed, as it is known or would be; a word of warning where nothing is known of it, or mail goes by another name. */
async function nameOf(sql: Sql, settings: Settings, given: string): Promise<string> {
  const { name, known } = await typed(sql, settings, given)
  if (!known) console.error(`everpost: nothing is known of ${name} yet; names are as everpost destination list gives them, or a next hop`)
  const routed = nextHopKey(nextHopOf(name, settings.routes.filter(({ domain }) => domain !== '*')))
  if (routed !== nextHopKey(nextHopOf(name, []))) console.error(`everpost: mail for ${name} goes to ${routed}, as routes in the settings say, and is stopped by that name alone`)
  return name
}

/** Throws CommandError for what can be no name. */
async function typed(sql: Sql, settings: Settings, given: string): Promise<TypedName> {
  return await destinationName(sql, settings, given).catch((error) => {
    throw error instanceof RangeError ? new CommandError(error.message, sysexits.usage) : error
  })
}

function join(summaries: DestinationSummary[], rows: DestinationRow[]): DestinationView[] {
  const byName = new Map(rows.map((row) => [row.name, row]))
  const known = new Set(summaries.map(({ name }) => name))
  const quiet = rows.filter((row) => !known.has(row.name) && stateOf(row) !== 'ok').map(({ name }): DestinationSummary => ({
    name, queued: 0, waiting: 0, oldest: null, delivered: 0, deferred: 0, bounced: 0, lastAt: null, lastText: null,
  }))
  return [...summaries, ...quiet].map((summary) => {
    const control = byName.get(summary.name) ?? null
    const ended = summary.delivered + summary.deferred + summary.bounced
    return { ...summary, state: control ? stateOf(control) : 'ok', success: ended === 0 ? null : summary.delivered / ended, control }
  })
}

function stateOf({ suspendedUntil, circuitUntil, concurrency, rate }: DestinationRow): DestinationView['state'] {
  if (suspendedUntil && suspendedUntil.getTime() > Date.now()) return 'suspended'
  if (circuitUntil) return 'circuit open'
  return concurrency !== null || rate !== null ? 'limited' : 'ok'
}

function line({ name, state, queued, oldest, success, lastText }: DestinationView): string[] {
  return [name, state, String(queued), oldest ? span(Date.now() - oldest.getTime()) : '-', percent(success), lastText ?? '']
}

function percent(part: number | null): string {
  return part === null ? '-' : `${Math.round(part * 100)} %`
}

function describe(view: ShownDestination): string {
  const { control } = view
  return [
    `Destination ${view.name}  ${view.state}`,
    `Queued      ${view.queued} recipient${view.queued === 1 ? '' : 's'}${view.oldest ? `, the oldest message accepted ${moment(view.oldest)}` : ''}`,
    `Waiting     ${view.waiting} of them for a suspension, a circuit or a limit`,
    `Traffic     ${view.delivered} delivered, ${view.deferred} deferred, ${view.bounced} bounced in this hour and the one before; success ${percent(view.success)}`,
    ...(view.lastAt ? [`Last        ${moment(view.lastAt)}: ${view.lastText}`] : []),
    ...view.replies.map(({ text, recipients }, i) => `${i === 0 ? 'Told' : '    '}        ${recipients} of those queued: ${text}`),
    ...(control?.suspendedUntil && view.state === 'suspended'
      ? [`Suspended   until ${moment(control.suspendedUntil)} by ${control.suspendedBy}, since ${moment(control.suspendedAt!)}${control.suspendedWhy ? `: ${control.suspendedWhy}` : ''}`]
      : []),
    ...(control?.circuitUntil ? [`Circuit     open since ${moment(control.circuitSince!)}, probed from ${moment(control.circuitUntil)}: ${control.circuitWhy}`] : []),
    ...(control && (control.concurrency !== null || control.rate !== null) ? [`Limited     to ${limitInWords(control)}, over all workers`] : []),
  ].join('\n')
}
