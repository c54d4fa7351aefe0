// everpost replay: queues failed recipients again, one message or all that match.

import { userInfo } from 'node:os'
import { canonicalDomain } from '../mail/address.ts'
import { queueLifetime } from '../mail/retry.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { type Failed, findFailed, replayMessage } from '../store/replay.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError } from './errors.ts'
import { address, moment } from './format.ts'
import { wakeMessages } from './wake.ts'

interface Options {
  allFailed?: boolean
  domain?: string
  since?: Date
  dryRun?: boolean
  why: string
  json?: boolean
}

export async function replay(file: string | undefined, id: string | undefined, options: Options): Promise<void> {
  if ((id === undefined) === !options.allFailed) {
    throw new CommandError('name one message by its queue id, or all with --all-failed (with --domain and --since to choose)', 64)
  }
  const { settings } = loadContext(file)
  await withDatabase(settings, async (sql) => {
    const filter = { domain: options.domain && canonicalDomain(options.domain), since: options.since }
    const found = await findFailed(sql, filter, id)
    if (found.length === 0) {
      const what = id === undefined ? 'no failed recipient matches' : `${id} has no failed recipients that match (everpost show ${id} tells)`
      throw new CommandError(`nothing to replay: ${what}`)
    }
    if (!options.dryRun) await replayAll(sql, settings, found, options, filter)
    if (options.json) console.log(JSON.stringify(found, null, 2))
    else print(found, options.dryRun ?? false)
    if (id !== undefined && found[0]!.released) throw new CommandError(`the body of ${id} is no longer kept (settings: retention.failed)`)
  })
}

async function replayAll(
  sql: Sql, settings: Settings, found: Failed[], options: Options, filter: { domain?: string | undefined; since?: Date | undefined },
): Promise<void> {
  const ready = found.filter((message) => !message.released)
  let done = 0
  for (const message of ready) {
    const lifetime = queueLifetime(message.reversePath, null, settings.retry)
    const retention = settings.retention
    await replayMessage(sql, { ...filter, id: message.id, who: userInfo().username, why: options.why, lifetime, retention })
    if (++done % 100 === 0) process.stderr.write(`${done} of ${ready.length}\n`)
  }
  await wakeMessages(settings, ready.map((message) => message.id))
}

function print(found: Failed[], dryRun: boolean): void {
  for (const message of found) {
    const verb = message.released ? 'cannot be replayed, its body is no longer kept:' : dryRun ? 'would be queued again:' : 'queued again:'
    console.log(`${message.id}  from ${address(message.reversePath)}, failed ${moment(message.failedAt)}  ${verb} ${message.recipients.join(', ')}`)
  }
  const ready = found.filter((message) => !message.released).length
  console.log(dryRun ? `${ready} of ${found.length} would be replayed; nothing was changed.` : `${ready} of ${found.length} replayed.`)
}
