// npm run bench: measures side by side, in rounds, against one Postgres and one Temporal, and gives ratios.
// --quick: one short round. --only a,b: some of the measures. --rounds N. --json FILE: the figures. --write: into docs/performance.md.
// --shards N, --driver D: of Temporal where it is on Postgres; else those of docker-compose.yml.

import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { lacksTemporalServer, usualChoices } from '../test/support/temporal-on-postgres.ts'
import { hasExim } from './exim.ts'
import { aims, type Results, writeFigures } from './figures.ts'
import { type Bench, type Measured, measures, firstRoundOnly, prepareBench } from './measures.ts'
import { hasPostfix } from './postfix.ts'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false }, only: { type: 'string' }, rounds: { type: 'string' }, seconds: { type: 'string' }, json: { type: 'string' },
    write: { type: 'boolean', default: false }, shards: { type: 'string' }, driver: { type: 'string' },
  },
})
const asked = values.only?.split(',') ?? Object.keys(measures)
const unknown = asked.filter((name) => !(name in measures))
if (unknown.length > 0) {
  console.error(`there is no benchmark ${unknown.join(', ')}; there are ${Object.keys(measures).join(', ')}`)
  process.exit(64)
}
const absent = {
  postfix: hasPostfix() ? null : 'Postfix is not installed',
  exim: hasExim() ? null : 'Exim is not installed (EVERPOST_EXIM names its program), or this is not root',
  'on-postgres': lacksTemporalServer(),
}
const chosen = asked.filter((name) => {
  const [, reason] = Object.entries(absent).find(([part]) => name.includes(part)) ?? []
  if (reason) console.log(`${name} is left out: ${reason}`)
  return !reason
})
const rounds = values.rounds ? Number(values.rounds) : values.quick ? 1 : 3
const seconds = values.seconds ? Number(values.seconds) : values.quick ? 5 : 15
const usual = usualChoices()
const temporalOnPostgres = { shards: Number(values.shards ?? usual.shards), driver: values.driver ?? usual.driver }
const conditions = { at: new Date().toISOString(), rounds, seconds, load: loadavg()[0]!, temporalOnPostgres }

const results: Results = {}
const bench: Bench = await prepareBench(seconds, temporalOnPostgres, (line) => console.log(line))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void bench.end().finally(() => process.exit(130)))
try {
  for (let round = 1; round <= rounds; round++) {
    for (const name of chosen.filter((name) => round === 1 || !firstRoundOnly.has(name))) {
      process.stdout.write(`round ${round} of ${rounds}: ${name.padEnd(24)}`)
      try {
        const measured = await measures[name]!(bench)
        results[name] = [...(results[name] ?? []), measured]
        console.log(describe(measured))
      } catch (error) {
        // One measure that cannot be had on this machine spoils no other.
        console.log(String(error))
      }
    }
  }
} finally {
  await bench.end()
}
console.log(`\n${aims(results).filter(([, value]) => value !== null).map(([what, value]) => `${value!.padStart(7)}  ${what}`).join('\n')}`)
if (values.json) writeFileSync(values.json, `${JSON.stringify({ ...conditions, results }, null, 2)}\n`)
if (values.write) writeFigures(results, conditions)

function describe({ rate, latency, cpu, memory, transactions, temporalTransactions, seconds, attempts }: Measured): string {
  return [
    rate === undefined ? '' : `${rate.toFixed(0)}/s`,
    latency ? `p50 ${latency.p50.toFixed(1)} ms, p99 ${latency.p99.toFixed(1)} ms` : '',
    cpu ? `CPU ms each: ${Object.entries(cpu).map(([name, ms]) => `${name} ${ms.toFixed(1)}`).join(', ')}` : '',
    transactions ? `${transactions.toFixed(1)} transactions each` : '',
    temporalTransactions ? `${temporalTransactions.toFixed(1)} of Temporal` : '',
    memory === undefined ? '' : `${memory.toFixed(0)} MiB`,
    attempts === undefined ? '' : `${attempts} attempts in ${seconds!.toFixed(1)} s`,
  ].filter(Boolean).join('; ')
}
process.exit(0)
