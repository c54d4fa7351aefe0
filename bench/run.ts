// npm run bench: measures side by side, in rounds, against one Postgres and one Temporal, and gives ratios.
// --quick: one short round. --only a,b: some of ceiling, end-to-end, accept, latency, memory. --json FILE: the figures.

import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { type Bench, type Measured, measures, prepareBench } from './measures.ts'

const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, only: { type: 'string' }, rounds: { type: 'string' }, json: { type: 'string' } } })
const chosen = values.only?.split(',') ?? Object.keys(measures)
const unknown = chosen.filter((name) => !(name in measures))
if (unknown.length > 0) {
  console.error(`there is no benchmark ${unknown.join(', ')}; there are ${Object.keys(measures).join(', ')}`)
  process.exit(64)
}
const rounds = values.rounds ? Number(values.rounds) : values.quick ? 1 : 3
const seconds = values.quick ? 5 : 15

const results: Record<string, Measured[]> = {}
const bench: Bench = await prepareBench(seconds, (line) => console.log(line))
try {
  for (let round = 1; round <= rounds; round++) {
    for (const name of chosen) {
      // Memory does not vary between rounds, and moves 2.5 GB.
      if (name === 'memory' && round > 1) continue
      process.stdout.write(`round ${round} of ${rounds}: ${name.padEnd(14)}`)
      const measured = await measures[name]!(bench)
      results[name] = [...(results[name] ?? []), measured]
      console.log(describe(measured))
    }
  }
} finally {
  await bench.end()
}
console.log(`\n${table().join('\n')}`)
if (values.json) writeFileSync(values.json, `${JSON.stringify({ at: new Date().toISOString(), rounds, seconds, results }, null, 2)}\n`)

function describe({ rate, latency, cpu, memory }: Measured): string {
  return [
    rate === undefined ? '' : `${rate.toFixed(0)}/s`,
    latency ? `p50 ${latency.p50.toFixed(1)} ms, p99 ${latency.p99.toFixed(1)} ms` : '',
    cpu ? `CPU ms each: ${Object.entries(cpu).map(([name, ms]) => `${name} ${ms.toFixed(1)}`).join(', ')}` : '',
    memory === undefined ? '' : `${memory.toFixed(0)} MiB`,
  ].filter(Boolean).join('; ')
}

/** Medians of the ratios of each round, since only measures of one round saw the same machine. */
function table(): string[] {
  const ratio = (of: string, to: string) => {
    const pairs = (results[of] ?? []).flatMap((a, i) => (results[to]?.[i]?.rate && a.rate ? [a.rate / results[to]![i]!.rate!] : []))
    return pairs.length > 0 ? median(pairs).toFixed(2) : null
  }
  const first = (name: string) => results[name]?.[0]
  const lines: [string, string | null][] = [
    ['end to end, of the ceiling of Temporal (aim 0.90)', ratio('end-to-end', 'ceiling')],
    ['accept, of bare commits of the same bytes (aim 0.90)', ratio('accept', 'commits')],
    ['accept to next hop at a gentle load, p50 in ms (aim 50)', first('latency')?.latency ? median(results['latency']!.map((each) => each.latency!.p50)).toFixed(1) : null],
    ['memory of ingress with 50 messages of 50 MiB, in MiB (aim 400)', first('memory')?.memory?.toFixed(0) ?? null],
  ]
  return lines.filter(([, value]) => value !== null).map(([what, value]) => `${value!.padStart(7)}  ${what}`)
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]!
}

