// npm run chaos -- --kills N --messages M --seed S: a chaos run by hand. --minutes: an end to the load. --patience: seconds without
// progress that make a stall. --wipes: Temporal's database is lost, too. --patient: faults last up to a minute. --other CHECKOUT: half of the
// processes are of another version, built there. --temporal-on-postgres: Temporal's real server on the Postgres of the cluster, as operators
// run it (EVERPOST_TEMPORAL_BIN: docs/performance.md). --sabotage early-250, forget-dot or no-sync: a negative control, which must find loss,
// spoilt files or unattributed duplicates. --json FILE: the result, with twenty of the duplicates and all of them
// by cause. Exit code 1: the promise was broken, or the control was blind.

import { execFileSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type ChaosOptions, runChaos } from './chaos.ts'
import { isInside, spawnAlone } from './means.ts'
import { kept } from './verdict.ts'

if (!isInside()) {
  const child = spawnAlone(process.argv.slice(1), 'inherit')
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill('SIGKILL'))
  process.exit(await new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 1))))
}

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '50' }, messages: { type: 'string', default: '5000' }, seed: { type: 'string' },
    minutes: { type: 'string', default: '600' }, wipes: { type: 'boolean', default: false }, patient: { type: 'boolean', default: false },
    patience: { type: 'string', default: '600' }, sabotage: { type: 'string' }, 'temporal-on-postgres': { type: 'boolean', default: false }, other: { type: 'string' }, json: { type: 'string' },
  },
})
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
console.log(`seed ${seed}`)
const result = await runChaos({
  kills: Number(values.kills), messages: Number(values.messages), seed, wipes: values.wipes, patient: values.patient, onPostgres: values['temporal-on-postgres'],
  limit: Number(values.minutes) * 60_000, patience: Number(values.patience) * 1000, say: (line) => console.log(line),
  ...(values.other === undefined ? {} : { other: resolve(values.other) }),
  ...(values.sabotage === undefined ? {} : { sabotage: values.sabotage as NonNullable<ChaosOptions['sabotage']> }),
})
const { verdict } = result
console.log(JSON.stringify({ ...result, verdict: { told: verdict.told, outcomes: verdict.outcomes, unknownTaken: verdict.unknownTaken, duplicatesBy: verdict.duplicatesBy } }, null, 2))
for (const [what, list] of Object.entries(verdict)) if (Array.isArray(list)) console.log([`${what}: ${list.length}`, ...list.slice(0, 20)].join('\n  '))
if (values.json) {
  const short = { ...result, verdict: { ...verdict, duplicates: verdict.duplicates.slice(0, 20) } }
  writeFileSync(values.json, `${JSON.stringify({ at: new Date().toISOString(), commit: commit(), seed, ...short }, null, 2)}\n`)
}
const good = values.sabotage === undefined ? kept(verdict) : verdict.lost.length + verdict.unattributed.length + verdict.corrupt.length > 0
console.log(good ? 'kept' : 'BROKEN')
process.exit(good ? 0 : 1)

/** Of the checkout that was run; '' outside one. */
function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: import.meta.dirname, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return ''
  }
}
