// Tells webhooks what happened: signed, in order for each message, tried again until taken or given up. Any number of
// processes may run it; the queue is in Postgres.

import { createHmac } from 'node:crypto'
import type { Logger } from 'pino'
import type { Settings } from '../settings/schema.ts'
import { postgresTime } from '../store/clock.ts'
import type { Sql } from '../store/database.ts'
import { claimDeliveries, type Delivery, deliveryFailed, deliveryTaken, subscribeWebhooks } from '../store/webhooks.ts'

export interface Webhooks {
  stop(): Promise<void>
}

type Webhook = Settings['webhooks'][number]

const atOnce = 20
const lease = 60_000
const timeout = 10_000

/** Looks every `interval` milliseconds, and again at once while there is more. Without webhooks in the settings it only says so to the database. */
export function startWebhooks(deps: { sql: Sql; settings: Settings; log: Logger; interval?: number }): Webhooks {
  const { sql, settings, log, interval = 500 } = deps
  const byName = new Map(settings.webhooks.map((webhook) => [webhook.name, webhook]))
  let subscribed = false
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  let round = look()

  async function look(): Promise<void> {
    let more = false
    try {
      if (!subscribed) await subscribeWebhooks(sql, settings.webhooks)
      subscribed = true
      if (byName.size === 0) return
      const due = await claimDeliveries(sql, atOnce, lease)
      await Promise.all(due.map(deliver))
      more = due.length > 0
    } catch (error) {
      log.warn({ error: String(error) }, 'webhooks wait for the database')
    }
    if (!stopped) timer = setTimeout(() => { round = look() }, more ? 0 : interval)
  }

  async function deliver(delivery: Delivery): Promise<void> {
    const webhook = byName.get(delivery.webhook)
    // Another process has newer settings, or older ones.
    if (!webhook) return
    const problem = await post(webhook, delivery)
    if (problem === null) return await deliveryTaken(sql, delivery)
    const tooOld = postgresTime() - delivery.at.getTime() > webhook.lifetime && delivery.attempts > 1
    const pause = tooOld ? null : pauseAfter(delivery.attempts, webhook)
    log[tooOld ? 'error' : 'warn']({ webhook: webhook.name, id: delivery.messageId, event: delivery.event, attempt: delivery.attempts, problem },
      tooOld ? 'webhook given up: a dead letter (everpost webhooks --dead)' : 'webhook not taken')
    await deliveryFailed(sql, delivery, problem, pause)
  }

  return {
    async stop() {
      stopped = true
      clearTimeout(timer)
      await round
    },
  }
}

function pauseAfter(attempts: number, { minimalBackoffTime, maximalBackoffTime }: Webhook): number {
  return Math.min(minimalBackoffTime * 2 ** Math.min(attempts - 1, 30), maximalBackoffTime) * (1 + 0.1 * Math.random())
}

/** Null when it was taken, which any 2xx says; else what went wrong, in one line. */
async function post({ url, secret }: Webhook, { seq, messageId, at, event, detail }: Delivery): Promise<string | null> {
  const id = String(seq)
  const timestamp = Math.floor(Date.now() / 1000)
  const body = JSON.stringify({ type: event, timestamp: at, data: { id: messageId, ...(detail as object) } })
  try {
    const answer = await fetch(url, {
      method: 'POST',
      body,
      headers: {
        'content-type': 'application/json', 'user-agent': 'Everpost',
        'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signature(secret, id, timestamp, body),
      },
      redirect: 'manual',
      signal: AbortSignal.timeout(timeout),
    })
    await answer.body?.cancel()
    return answer.ok ? null : `HTTP ${answer.status}`
  } catch (error) {
    const { cause, message } = error as Error & { cause?: Error }
    return (cause?.message ?? message).slice(0, 300)
  }
}

/** As the Standard Webhooks specification says (v1, HMAC-SHA256); a secret that begins with `whsec_` is base64. */
function signature(secret: string, id: string, timestamp: number, body: string): string {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret)
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`
}
