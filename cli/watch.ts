// everpost watch: events as they happen. While it runs, the database writes them down.

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { endStream, type EventRow, presentCursor, readEvents, renewStream } from '../store/events.ts'
import { readMessage } from '../store/messages.ts'
import { loadContext, withDatabase } from './context.ts'
import { noMessage } from './errors.ts'
import { untilSignal } from './signals.ts'

export async function watch(file: string | undefined, options: { message?: string; json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const { message } = options
  let stopped = false
  void untilSignal('SIGHUP').then(() => {
    stopped = true
  })
  await withDatabase(settings, async (sql) => {
    if (message !== undefined && !(await readMessage(sql, message))) throw noMessage(message)
    const name = `watch-${randomBytes(6).toString('hex')}`
    await renewStream(sql, name, 60)
    let cursor = await presentCursor(sql)
    if (!options.json) console.error('Watching; Ctrl-C ends it.')
    try {
      for (let round = 1; !stopped; round++) {
        const events = await readEvents(sql, cursor, 1000, message)
        for (const event of events) console.log(options.json ? JSON.stringify(event) : line(event))
        cursor = events.at(-1)?.cursor ?? cursor
        if (events.length === 0) await sleep(250)
        if (round % 60 === 0) await renewStream(sql, name, 60)
      }
    } finally {
      await endStream(sql, name)
    }
  })
}

function line({ at, messageId, event, detail }: EventRow): string {
  const value = (key: string) => (detail[key] === null || detail[key] === undefined ? '' : String(detail[key]))
  const parts = {
    accepted: [`from <${value('from')}>`, `${value('size')} octets`, detail['kind'] === 'dsn' ? `report on ${value('parent')}` : ''],
    attempt: [`${value('number')} to ${value('nextHop')}`, detail['lost'] ? 'lost with its worker' : ''],
    action: [value('action'), `by ${value('who')}`, value('why')],
  }[event as string] ?? (detail['who'] === undefined ? [value('to'), value('text')] : [`by ${value('who')}`, value('why')])
  return `${at.toISOString().slice(11, 19)}  ${messageId}  ${event.padEnd(9)}  ${parts.filter(Boolean).join('  ')}`
}
