// everpost queue: what waits, oldest first.

import { formatSize } from '../settings/units.ts'
import { countQueue, listQueue, type QueueRow } from '../store/queue.ts'
import { loadContext, withDatabase } from './context.ts'
import { address, span, table } from './format.ts'

export async function printQueue(file: string | undefined, options: { limit: number; json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  await withDatabase(settings, async (sql) => {
    const rows = await listQueue(sql, options.limit)
    if (options.json) {
      console.log(JSON.stringify(rows, null, 2))
      return
    }
    if (rows.length === 0) {
      console.log('The queue is empty.')
      return
    }
    console.log(table([['ID', 'AGE', 'SIZE', 'FROM', 'TO', 'NEXT', 'LAST'], ...rows.map(line)]))
    const all = await countQueue(sql)
    console.log(all > rows.length ? `${rows.length} of ${all} messages; --limit shows more.` : `${all} message${all === 1 ? '' : 's'}.`)
  })
}

function line(row: QueueRow): string[] {
  const more = row.waiting > 1 ? ` +${row.waiting - 1}` : ''
  const due = row.nextAttemptAt ? row.nextAttemptAt.getTime() - Date.now() : 0
  const next = row.active ? 'under way' : due <= 0 ? 'now' : `in ${span(due)}`
  return [
    row.id, span(Date.now() - row.acceptedAt.getTime()), formatSize(row.size), address(row.reversePath), `${row.forwardPath}${more}`,
    next, row.outcome?.text ?? '',
  ]
}
