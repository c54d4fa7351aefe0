// everpost webhooks: what each still has to be told, and what was given up.

import { deadDeliveries, listWebhooks, reviveDeliveries } from '../store/webhooks.ts'
import { loadContext, withDatabase } from './context.ts'
import { moment, table } from '../console/format.ts'

export async function printWebhooks(file: string | undefined, options: { dead?: boolean; retryDead?: boolean; limit: number; json?: boolean }): Promise<void> {
  await withDatabase(loadContext(file).settings, async (sql) => {
    if (options.retryDead) {
      const revived = await reviveDeliveries(sql)
      return console.log(options.json ? JSON.stringify({ revived }, null, 2) : `${revived} dead letters are tried again.`)
    }
    if (options.dead) {
      const rows = await deadDeliveries(sql, options.limit)
      if (options.json) return console.log(JSON.stringify(rows, null, 2))
      if (rows.length === 0) return console.log('Nothing was given up.')
      return console.log(table([['WEBHOOK', 'MESSAGE', 'EVENT', 'AT', 'GIVEN UP', 'PROBLEM'],
        ...rows.map((row) => [row.webhook, row.messageId, row.event, moment(row.at), moment(row.deadAt), row.problem])]))
    }
    const rows = await listWebhooks(sql)
    if (options.json) return console.log(JSON.stringify(rows, null, 2))
    if (rows.length === 0) return console.log('The settings name no webhook, or no worker has started with them yet.')
    console.log(table([['WEBHOOK', 'WAITING', 'OLDEST', 'DEAD', 'LAST PROBLEM'],
      ...rows.map((row) => [row.name, String(row.waiting), row.oldest ? moment(row.oldest) : '', String(row.dead), row.problem ?? ''])]))
  })
}
