// everpost trace: all messages from or to an address.

import { type TracePage, type TraceRow, traceAddress } from '../store/trace.ts'
import { loadContext, withDatabase } from './context.ts'
import { address as shown, moment, table } from '../console/format.ts'

export async function printTrace(file: string | undefined, address: string, options: TracePage & { json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const wanted = address.replace(/^<(.+)>$/, '$1')
  const rows = await withDatabase(settings, (sql) => traceAddress(sql, wanted, options))
  if (options.json) return console.log(JSON.stringify(rows, null, 2))
  if (rows.length === 0) {
    const pattern = wanted.includes('*') ? ' Here * stands for itself; everpost queue takes patterns, with --sender and --recipient.' : ''
    const time = options.since || options.until ? ' of that time' : ''
    return console.log(`No message from or to ${address}${time} is known.${pattern}`)
  }
  console.log(table([['ID', 'ACCEPTED', 'FROM', 'TO', 'STATE', 'LAST'], ...rows.map(line)]))
  if (rows.length === options.limit) console.log('There may be more; --limit shows them.')
}

function line(row: TraceRow): string[] {
  const to = `${row.forwardPath}${row.original === null ? '' : ` (for ${row.original})`}${row.others > 0 ? ` +${row.others}` : ''}`
  const state = row.state === 'queued' && row.held ? 'on hold' : row.state === 'queued' && row.text ? 'deferred' : row.state
  return [row.id, moment(row.acceptedAt), shown(row.reversePath), to, state, row.text ?? '']
}
