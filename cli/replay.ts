// everpost replay: queues failed recipients again, one message or all that match, at once or at a rate.

import { createCallout } from '../ingress/callout.ts'
import { readAliases } from '../ingress/aliases.ts'
import { createRecipients } from '../ingress/recipients.ts'
import { canonicalDomain, parsePath } from '../mail/address.ts'
import { queueLifetime } from '../mail/retry.ts'
import { parseNextHop } from '../mail/route.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { readMessage } from '../store/messages.ts'
import { type Failed, findFailed, type ReplayFilter, type ReplayRequest, replayMessage } from '../store/replay.ts'
import { confirm, messages } from './confirm.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError, noMessage } from './errors.ts'
import { address, moment, span } from '../console/format.ts'
import { sysexits } from '../mail/sysexits.ts'
import { wakeMessages } from './wake.ts'

interface Options extends ReplayFilter {
  allFailed?: boolean
  via?: string
  to?: string
  /** Milliseconds between two messages. */
  rate?: number
  dryRun?: boolean
  yes?: boolean
  who: string
  why: string
  json?: boolean
}

export async function replay(file: string | undefined, id: string | undefined, options: Options): Promise<void> {
  if ((id === undefined) === !options.allFailed) {
    throw new CommandError('name one message by its queue id, or all with --all-failed (with --domain, --sender, --recipient, --reply, --since and --dead to choose)', sysexits.usage)
  }
  const { settings } = loadContext(file)
  const nextHop = nextHopOf(options.via)
  await withDatabase(settings, async (sql) => {
    const to = options.to === undefined ? undefined : await expand(sql, settings, options.to)
    const { recipient, sender, reply, since, dead } = options
    const filter = { domain: options.domain && canonicalDomain(options.domain), recipient, sender, reply, since, dead }
    const found = await findFailed(sql, filter, { id })
    if (found.length === 0) {
      if (id !== undefined && !(await readMessage(sql, id))) throw noMessage(id)
      const what = id === undefined ? 'no failed recipient matches' : `${id} has no failed recipients that match (everpost show ${id} tells)`
      throw new CommandError(`nothing to replay: ${what}`)
    }
    const ready = found.filter((message) => !message.released).length
    if (!options.dryRun && !options.yes && id === undefined && ready > 0) await confirm('replay', ready)
    const missed = options.dryRun ? new Set() : await replayAll(sql, settings, found, { ...filter, given: id !== undefined }, { nextHop, to }, options)
    const replayed = found.filter((message) => !missed.has(message.id))
    if (options.json) console.log(JSON.stringify(replayed, null, 2))
    else print(replayed, found.length, to, options)
    if (missed.size > 0) throw new CommandError(`${messages(missed.size)} left alone, since nothing had failed there any more: somebody else was faster`)
    if (id !== undefined && found[0]!.released) throw new CommandError(`the body of ${id} is no longer kept (settings: retention.failed)`)
  })
}

function nextHopOf(via: string | undefined): string | null | undefined {
  if (via === undefined || via === 'none') return via === undefined ? undefined : null
  try {
    parseNextHop(via)
    return via
  } catch (error) {
    throw new CommandError(`--via: ${(error as Error).message}`, sysexits.usage)
  }
}

/** Who is behind the address, as for mail that is submitted. */
async function expand(sql: Sql, settings: Settings, to: string): Promise<string[]> {
  const path = parsePath(`<${to}>`)
  if ('problem' in path || path.rest !== '' || path.address === '') throw new CommandError(`--to ${to}: no address`, sysexits.usage)
  const found = await createRecipients(settings, await readAliases(settings, sql), createCallout(settings.hostname)).find(path.address, true)
  if ('refused' in found) throw new CommandError(`--to ${to}: ${found.refused.lines.join(' ')}`, sysexits.usage)
  return found.addresses
}

/**
 * The rate is kept by the queue: each message is due a little after the one before, whether this command goes on or not.
 * Returns the ids of those that had nothing to replay any more.
 */
async function replayAll(
  sql: Sql, settings: Settings, found: Failed[], filter: ReplayFilter, { nextHop, to }: Pick<ReplayRequest, 'nextHop' | 'to'>, options: Options,
): Promise<Set<string>> {
  const ready = found.filter((message) => !message.released)
  const { retry, retention } = settings
  const { who, why, rate = 0 } = options
  const begun = performance.now()
  const missed = new Set<string>()
  let told = begun
  for (const [i, { id, reversePath, user }] of ready.entries()) {
    const lifetime = queueLifetime(reversePath, user, retry)
    const now = performance.now()
    const queued = await replayMessage(sql, { ...filter, id, who, why, after: Math.max(0, begun + i * rate - now), nextHop, to, lifetime, retention })
    if (queued.length === 0) missed.add(id)
    if (now - told >= 1000) {
      told = now
      process.stderr.write(`${i + 1} of ${ready.length}\n`)
    }
  }
  const soon = rate === 0 ? ready.length : Math.ceil(1000 / rate)
  await wakeMessages(settings, ready.slice(0, soon).map((message) => message.id), ready.slice(soon).map((message) => message.id))
  return missed
}

function print(found: Failed[], of: number, to: string[] | undefined, { dryRun = false, rate = 0 }: Options): void {
  const ready = found.filter((message) => !message.released).length
  for (const message of found) {
    if (message.released && !dryRun) continue
    const verb = message.released ? 'cannot be replayed, its body is no longer kept:' : dryRun ? 'would be queued again:' : 'queued again:'
    const instead = to && !message.released ? `, as ${to.join(', ')}` : ''
    console.log(`${message.id}  from ${address(message.reversePath)}, failed ${moment(message.failedAt)}  ${verb} ${message.recipients.join(', ')}${instead}`)
  }
  const gone = found.length - ready
  if (gone > 0 && !dryRun) console.log(`${messages(gone)} cannot be replayed: ${gone === 1 ? 'its body is' : 'their bodies are'} no longer kept (settings: retention.failed).`)
  const spread = rate === 0 || ready === 0 ? '' : `, the last due in ${span((ready - 1) * rate)}`
  console.log(dryRun ? `${ready} of ${of} would be replayed; nothing was changed.` : `${ready} of ${of} replayed${spread}.`)
}
