// From measures to what is published: the table and the plot of docs/performance.md, and its numbers as JSON.

import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import type { Choices } from '../test/support/temporal-on-postgres.ts'
import type { Measured } from './measures.ts'

export type Results = Record<string, Measured[]>

interface Conditions {
  at: string
  rounds: number
  seconds: number
  /** Of one minute, before the run: what else the machine did. */
  load: number
  temporalOnPostgres: Choices
}

/** Median of what each round gave; of an even number of rounds the mean of the two in the middle. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const [low, high] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.floor(sorted.length / 2)]]
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2
}

/** Median of the ratios of each round, since only measures of one round saw the same machine; null when one was not measured. */
export function ratio(results: Results, of: string, to: string): number | null {
  const pairs = (results[of] ?? []).flatMap((a, i) => (results[to]?.[i]?.rate && a.rate ? [a.rate / results[to]![i]!.rate!] : []))
  return pairs.length > 0 ? median(pairs) : null
}

const names: Record<string, string> = {
  ceiling: 'the ceiling: an empty workflow, eager start, one local activity', 'end-to-end': 'Everpost end to end, 10 KiB, 20 clients',
  'ceiling-in-memory': 'the ceiling, Temporal in memory', 'end-to-end-in-memory': 'Everpost end to end, Temporal in memory',
  'ceiling-on-postgres': 'the ceiling, Temporal on Postgres', 'end-to-end-on-postgres': 'Everpost end to end, Temporal on Postgres',
  'latency-on-postgres': 'Everpost, 10 messages a second, Temporal on Postgres',
  'queued-1000': 'end to end with 1,000 queued', 'queued-1000000': 'end to end with 1,000,000 queued', commits: 'bare commits of the same bytes, 10 connections',
  accept: 'Everpost, accept only, Temporal away', latency: 'Everpost, 10 messages a second', memory: 'ingress with 50 messages of 50 MiB at once',
  'one-destination': 'one message to 1,000 recipients at one destination', 'many-destinations': 'one message to 1,000 destinations',
  'bare-accept': 'a bare smtp-server that throws messages away', 'postfix-end-to-end': 'Postfix end to end',
  'postfix-accept': 'Postfix, accept only', 'postfix-latency': 'Postfix, 10 messages a second',
  'accept-each': 'Everpost, accept only, a connection for each message', 'postfix-accept-each': 'Postfix, accept only, a connection for each message',
  'exim-end-to-end': 'Exim end to end', 'exim-accept': 'Exim, accept only', 'exim-accept-each': 'Exim, accept only, a connection for each message',
  'exim-latency': 'Exim, 10 messages a second',
}

const of = (rounds: Measured[], value: (measured: Measured) => number | undefined) => {
  const known = rounds.map(value).filter((each) => each !== undefined)
  return known.length > 0 ? median(known) : null
}

/** The aims of the project, and how far each is met. */
export function aims(results: Results): [string, string | null][] {
  const number = (value: number | null | undefined, digits = 2) => (value === null || value === undefined || Number.isNaN(value) ? null : value.toFixed(digits))
  const p50 = results['latency'] && of(results['latency'], (each) => each.latency?.p50)
  const cpu = (measure: string) => results[measure] && of(results[measure], (each) => Object.entries(each.cpu ?? {}).find(([name]) => /everpost|ceiling/.test(name))?.[1])
  const beyond = cpu('end-to-end') && cpu('ceiling') ? cpu('end-to-end')! - cpu('ceiling')! : null
  return [
    ['end to end, of the ceiling of Temporal (aim 0.90)', number(ratio(results, 'end-to-end', 'ceiling'))],
    ['the same with Temporal in memory', number(ratio(results, 'end-to-end-in-memory', 'ceiling-in-memory'))],
    ['the same with Temporal on Postgres', number(ratio(results, 'end-to-end-on-postgres', 'ceiling-on-postgres'))],
    ['accept, of bare commits of the same bytes (aim 0.90)', number(ratio(results, 'accept', 'commits'))],
    ['accept, of what a bare smtp-server throws away', number(ratio(results, 'accept', 'bare-accept'))],
    ['accept, of what Postfix accepts (aim 1)', number(ratio(results, 'accept', 'postfix-accept'))],
    ['the same with a connection for each message (aim 1)', number(ratio(results, 'accept-each', 'postfix-accept-each'))],
    ['end to end, of what Exim delivers (aim 1)', number(ratio(results, 'end-to-end', 'exim-end-to-end'))],
    ['accept to next hop at a gentle load, p50 in ms (aim 50)', number(p50, 1)],
    ['CPU of Everpost beyond that of the ceiling, ms a message (aim 4)', number(beyond, 1)],
    ['memory of ingress with 50 messages of 50 MiB, in MiB (aim 400)', number(results['memory']?.[0]?.memory, 0)],
    ['end to end with 1,000,000 queued, of that with 1,000 (aim 0.91)', number(ratio(results, 'queued-1000000', 'queued-1000'))],
    ['attempts for 1,000 recipients at one destination (aim 10)', number(results['one-destination']?.[0]?.attempts, 0)],
  ]
}

/** Writes the figures into docs/performance.md, between its marks, and the JSON and SVG beside it. */
export function writeFigures(results: Results, conditions: Conditions): void {
  const page = 'docs/performance.md'
  const machine = `${cpus().length} cores (${cpus()[0]!.model.trim()}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`
  const rows = Object.entries(results).map(([name, rounds]) => {
    const show = (value: number | null, digits = 0) => (value === null ? '' : value.toFixed(digits))
    const p = (key: 'p50' | 'p99') => show(of(rounds, (each) => each.latency?.[key]), 1)
    const cpu = Object.keys(rounds[0]?.cpu ?? {}).map((process) => `${process} ${show(of(rounds, (each) => each.cpu?.[process]), 1)}`).join(', ')
    const more = [
      of(rounds, (each) => each.transactions || undefined) === null ? '' : `${show(of(rounds, (each) => each.transactions), 1)} transactions each`,
      of(rounds, (each) => each.temporalTransactions) === null ? '' : `${show(of(rounds, (each) => each.temporalTransactions), 1)} of Temporal`,
      rounds[0]?.memory === undefined ? '' : `${show(of(rounds, (each) => each.memory))} MiB`,
      rounds[0]?.attempts === undefined ? '' : `${show(of(rounds, (each) => each.attempts))} attempts in ${show(of(rounds, (each) => each.seconds), 1)} s`,
    ].filter(Boolean).join(', ')
    return `| ${names[name] ?? name} | ${show(of(rounds, (each) => each.rate), 0)} | ${p('p50')} | ${p('p99')} | ${cpu} | ${more} |`
  })
  const when = conditions.at.slice(0, 16).replace('T', ' ')
  const text = [
    `${when} UTC, ${machine}; ${conditions.rounds} rounds of ${conditions.seconds} s, medians; load of the machine before the run: ${conditions.load.toFixed(1)}.`,
    '', '| measure | a second | p50 ms | p99 ms | CPU ms each | more |', '|---|--:|--:|--:|---|---|', ...rows,
    '', '| aim | found |', '|---|--:|',
    ...aims(results).filter(([, value]) => value !== null).map(([what, value]) => `| ${what} | ${value} |`), '', '![rates](performance.svg)',
  ].join('\n')
  writeFileSync(page, readFileSync(page, 'utf8').replace(/(<!-- figures -->\n)[\s\S]*(<!-- end -->)/, (_, before, after) => `${before}${text}\n${after}`))
  writeFileSync('docs/performance.json', `${JSON.stringify({ ...conditions, machine, results }, null, 1)}\n`)
  writeFileSync('docs/performance.svg', plot(results))
}

/** Bars of the rates, one for each round, so that their spread can be seen. */
function plot(results: Results): string {
  const measured = Object.entries(results).filter(([, rounds]) => rounds[0]?.rate !== undefined)
  const most = Math.max(1, ...measured.flatMap(([, rounds]) => rounds.map((each) => each.rate!)))
  let y = 10
  const bars = measured.map(([name, rounds]) => {
    const lines = [`<text x="0" y="${y + 12}">${names[name] ?? name}</text>`]
    for (const { rate } of rounds) {
      y += 16
      const width = (rate! / most) * 560
      lines.push(`<rect x="0" y="${y}" width="${width.toFixed(1)}" height="12"/><text x="${(width + 6).toFixed(1)}" y="${y + 10}">${rate!.toFixed(0)}/s</text>`)
    }
    y += 28
    return lines.join('\n')
  })
  const style = 'text{font:11px sans-serif;fill:#333}rect{fill:#3b6ea5}'
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="660" height="${y}" viewBox="-10 0 660 ${y}">`
  const title = 'Messages a second by measure, a bar for each round'
  return `${open}\n<title>${title}</title>\n<style>${style}</style>\n<rect x="-10" y="0" width="660" height="${y}" style="fill:#fff"/>\n${bars.join('\n')}\n</svg>\n`
}
