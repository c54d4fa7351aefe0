// everpost cat: a message's octets on standard output, or its header section alone.

import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { readContent } from '../console/content.ts'
import { loadContext, withDatabase } from './context.ts'
import { CommandError, noMessage } from './errors.ts'

interface Options {
  headers?: boolean
  who: string
  why: string
}

export async function cat(file: string | undefined, id: string, { headers = false, who, why }: Options): Promise<void> {
  await withDatabase(loadContext(file).settings, async (sql) => {
    const content = await readContent(sql, id, { who, why, headers })
    if ('problem' in content) {
      throw content.problem === 'unknown' ? noMessage(id) : new CommandError(`the body of ${id} is no longer kept (settings: retention). everpost show tells what is known of it.`)
    }
    await pipeline(Readable.from(content.octets), process.stdout, { end: false })
  })
}
