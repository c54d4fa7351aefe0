// Metrics in the text form of Prometheus: what this process has done, and how the whole installation stands. No label is of a
// message, an address or a destination: there would be no end of them.

import { setTimeout as sleep } from 'node:timers/promises'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { HostTry, Status } from '../mail/outcome.ts'
import { postgresTime } from '../store/clock.ts'
import type { Sql } from '../store/database.ts'
import { type Figures, readFigures } from '../store/figures.ts'

export interface Metrics {
  /** Counts attempts that have ended. */
  attempted(attempts: { tries: HostTry[]; outcomes: { status: Status }[]; others?: { status: Status; count: number }[] }[]): void
  text(): Promise<string>
}

/** Milliseconds for which what was read from the database is told again. */
const kept = 10_000
/** Milliseconds that a scrape waits for the database. */
const patience = 2500

/** `counters`: what the inbound edges of this process have counted, by name. */
export function createMetrics(sql: Sql, counters: () => Partial<Record<string, number>>): Metrics {
  const registers = [new Registry()]
  collectDefaultMetrics({ register: registers[0]! })
  const outcomes = new Counter({ name: 'everpost_recipients_total', help: 'Recipients tried by this process, by what came of it', labelNames: ['status'], registers })
  const took = new Histogram({
    name: 'everpost_attempt_seconds', help: 'Time of an attempt with all hosts that it tried', buckets: [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000], registers,
  })
  new Counter({
    name: 'everpost_ingress_total', help: 'What this process has done with mail that came by SMTP, LMTP or HTTP, accepted and refused', labelNames: ['event'], registers,
    collect() {
      this.reset()
      for (const [event, count] of Object.entries(counters())) this.inc({ event }, count)
    },
  })
  for (const status of ['delivered', 'deferred', 'bounced']) outcomes.inc({ status }, 0)

  let told: Figures | null = null
  let toldAt = Number.NEGATIVE_INFINITY
  let reading: Promise<void> | null = null
  /** null while the database is away, or takes too long: what this process has counted is told all the same. One read at a time, however many ask. */
  async function figures(): Promise<Figures | null> {
    if (performance.now() - toldAt > kept) {
      reading ??= read().finally(() => {
        reading = null
      })
      await Promise.race([reading, sleep(patience, undefined, { ref: false })])
    }
    return performance.now() - toldAt > kept ? null : told
  }
  async function read(): Promise<void> {
    told = await readFigures(sql, patience).catch(() => null)
    if (told) toldAt = performance.now()
  }

  function gauge(name: string, help: string, value: (figures: Figures) => number): void {
    new Gauge({
      name: `everpost_${name}`, help, registers,
      async collect() {
        const now = await figures()
        if (now) this.set(value(now))
        else this.remove()
      },
    })
  }
  function webhookGauge(name: string, help: string, value: (webhook: Figures['webhooks'][number]) => number): void {
    new Gauge({
      name: `everpost_${name}`, help, labelNames: ['webhook'], registers,
      async collect() {
        this.reset()
        for (const webhook of (await figures())?.webhooks ?? []) this.set({ webhook: webhook.name }, value(webhook))
      },
    })
  }
  gauge('queue_messages', 'Messages queued', ({ queued }) => queued)
  gauge('queue_held_messages', 'Messages on hold', ({ held }) => held)
  gauge('queue_oldest_seconds', 'Age of the oldest message that is queued and not on hold', ({ oldest }) => (oldest ? (postgresTime() - oldest.getTime()) / 1000 : 0))
  gauge('outbox_messages', 'Messages accepted whose workflow has not run yet', ({ outbox }) => outbox)
  gauge('destinations_suspended', 'Destinations suspended by an operator or a rule', ({ suspended }) => suspended)
  gauge('destinations_circuit_open', 'Destinations that are only probed, since they failed', ({ circuits }) => circuits)
  gauge('recipients_bounced_last_hour', 'Recipients that failed for good in the last hour', ({ bounced }) => bounced)
  gauge('recipients_expired_last_hour', 'Recipients given up in the last hour: their queue lifetime ended, or the time that a retry rule gave them', ({ expired }) => expired)
  webhookGauge('webhook_waiting', 'Events that the webhook has not taken yet', ({ waiting }) => waiting)
  webhookGauge('webhook_dead', 'Events that were given up', ({ dead }) => dead)

  return {
    attempted(attempts) {
      for (const attempt of attempts) {
        took.observe(attempt.tries.reduce((sum, each) => sum + each.took, 0) / 1000)
        for (const { status } of attempt.outcomes) outcomes.inc({ status })
        for (const { status, count } of attempt.others ?? []) outcomes.inc({ status }, count)
      }
    },
    text: () => registers[0]!.metrics(),
  }
}
