// everpost qshape: how many wait, by domain and age.

import { readShape, shapeMinutes } from '../store/shape.ts'
import { loadContext, withDatabase } from './context.ts'

export async function printShape(file: string | undefined, options: { by: 'recipient' | 'sender'; limit: number; json?: boolean }): Promise<void> {
  const { settings } = loadContext(file)
  const rows = await withDatabase(settings, (sql) => readShape(sql, options.by, options.limit))
  if (options.json) return console.log(JSON.stringify(rows, null, 2))
  const head = ['T', ...shapeMinutes.map(String), `${shapeMinutes.at(-1)}+`]
  const lines = rows.map((row) => [row.domain === '' ? '<>' : row.domain, ...[row.total, ...row.ages].map(String)])
  const first = Math.max(...lines.map((line) => line[0]!.length))
  const width = Math.max(...head.map((cell) => cell.length), ...lines.flatMap((line) => line.slice(1).map((cell) => cell.length)))
  for (const [name, ...cells] of [['', ...head], ...lines]) {
    console.log([name!.padStart(first), ...cells.map((cell) => cell.padStart(width))].join(' '))
  }
}
