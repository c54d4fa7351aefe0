// everpost queue: what waits, chosen, sorted and paged; or the dead letters.

import { formatSize } from '../settings/units.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { countMatching, isEmpty, type QueueFilter } from '../store/filter.ts'
import { countQueue, listQueue, type QueueOrder, type QueueRow } from '../store/queue.ts'
import { canonicalDomain } from '../mail/address.ts'
import { findFailed } from '../store/replay.ts'
import { type ChooseOptions, filterOf } from './choose.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError } from './errors.ts'
import { address, moment, sentBy, span, table, whenNext, whom } from '../console/format.ts'
import { sysexits } from '../mail/sysexits.ts'

interface Options extends ChooseOptions {
  sort: QueueOrder
  limit: number
  page: number
  dead?: boolean
  json?: boolean
}

/** Messages that are counted for a filter: an answer within a second counts for more. */
const countedMost = 100_000

export async function printQueue(file: string | undefined, options: Options): Promise<void> {
  const { settings } = loadContext(file)
  if (options.dead) return await printDead(settings, options)
  await withDatabase(settings, async (sql) => {
    const filter = await filterOf(sql, settings, [], options)
    const rows = await listQueue(sql, { filter, order: options.sort, limit: options.limit, offset: (options.page - 1) * options.limit })
    const chosen = !isEmpty(filter)
    if (options.json) {
      console.log(JSON.stringify(rows, null, 2))
      if (rows.length === options.limit) console.error(await summary(sql, filter, rows.length, options))
      return
    }
    if (rows.length === 0 && options.page > 1) return console.log(`There is nothing on page ${options.page}.`)
    if (rows.length === 0) return console.log(chosen ? 'Nothing that is queued matches.' : 'The queue is empty.')
    console.log(table([['ID', 'AGE', 'SIZE', 'FROM', 'TO', 'NEXT', 'LAST'], ...rows.map(line)]))
    console.log(await summary(sql, filter, rows.length, options))
  })
}

/** How many there are, and which of them this page shows. */
async function summary(sql: Sql, filter: QueueFilter, shown: number, { page, limit }: Options): Promise<string> {
  const chosen = !isEmpty(filter)
  const { messages, held } = chosen ? { messages: await countMatching(sql, filter, countedMost + 1), held: 0 } : await countQueue(sql)
  if (chosen && messages > countedMost) return `Page ${page}: ${shown} of more than ${countedMost} messages.`
  const more = messages > shown ? `Page ${page} of ${Math.ceil(messages / limit)}: ${shown} of ` : ''
  return `${more}${messages} message${messages === 1 ? '' : 's'}${held > 0 ? `, ${held} on hold` : ''}.`
}

function line(row: QueueRow): string[] {
  return [
    row.id, span(Date.now() - row.acceptedAt.getTime()), formatSize(row.size), sentBy(row), whom(row), whenNext(row), row.waits ?? row.outcome?.text ?? '',
  ]
}

/** They are not queued any more, so that not all of a queue's filters make sense. */
async function printDead(settings: Settings, { sender, recipient, domain, reply, user, client, nextHop, olderThan, status, limit, page, json }: Options): Promise<void> {
  if ([user, client, nextHop, olderThan, status].some((value) => value !== undefined)) throw new CommandError('--dead goes with --sender, --recipient, --domain and --reply alone', sysexits.usage)
  const filter = { dead: true, given: true, sender, recipient, domain: domain === undefined ? undefined : canonicalDomain(domain), reply }
  const found = await withDatabase(settings, (sql) => findFailed(sql, filter))
  const rows = found.slice((page - 1) * limit, page * limit)
  if (json) {
    console.log(JSON.stringify(rows, null, 2))
    if (rows.length < found.length) console.error(deadSummary(rows.length, found.length))
    return
  }
  if (rows.length === 0) return console.log('There are no dead letters that match.')
  console.log(table([['ID', 'FAILED', 'FROM', 'TO', 'BODY'],
    ...rows.map((row) => [row.id, moment(row.failedAt), address(row.reversePath), row.recipients.join(', '), row.released ? 'gone' : 'kept'])]))
  console.log(deadSummary(rows.length, found.length))
}

function deadSummary(shown: number, found: number): string {
  return `${shown} of ${found} message${found === 1 ? '' : 's'} of which nobody could be told; what has a body can be replayed.`
}
