// Tells webhooks what happened: signed, in order for each message, tried again until taken or given up. Any number of
// processes may run it; the queue is in Postgres.

import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { eitherOf } from '../activities/either.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { inRounds, type Rounds } from '../store/rounds.ts'
import { claimDeliveries, type Delivery, deliveryFailed, deliveryTaken, subscribeWebhooks } from '../store/webhooks.ts'

type Webhook = Settings['webhooks'][number]

const atOnce = 20
const lease = 60_000
const timeout = 10_000
/** Milliseconds for the posts under way when the process stops. */
const grace = 2000

/**
 * Looks every `interval` milliseconds, and again at once while there is more; for each webhook by itself, so that none waits for another.
 * Without webhooks in the settings it only says so to the database.
 */
export function startWebhooks({ sql, settings, log, interval = 500 }: { sql: Sql; settings: Settings; log: Logger; interval?: number }): Rounds {
  let subscribed: Promise<void> | null = null
  const stopping = new AbortController()

  /** Once, for all of them; again when it failed. */
  function subscribe(): Promise<void> {
    subscribed ??= subscribeWebhooks(sql, settings.webhooks).catch((error) => {
      subscribed = null
      throw error
    })
    return subscribed
  }

  const loops = (settings.webhooks.length > 0 ? settings.webhooks : [null]).map((webhook) => inRounds({
    interval: webhook ? interval : 60_000,
    async round() {
      await subscribe()
      if (!webhook) return false
      const { deliveries, more } = await claimDeliveries(sql, webhook.name, atOnce, lease)
      await Promise.all(deliveries.map((delivery) => deliver(webhook, delivery)))
      return more
    },
    trouble: (error) => log.warn({ webhook: webhook?.name, error: String(error) }, 'webhooks wait for the database'),
  }))

  async function deliver(webhook: Webhook, delivery: Delivery): Promise<void> {
    const problem = await post(webhook, delivery, stopping.signal)
    if (problem === null) return await deliveryTaken(sql, webhook.name, delivery)
    // It had less than its time: due again at once.
    if (stopping.signal.aborted) return await deliveryFailed(sql, webhook.name, delivery, problem, 0)
    const tooOld = delivery.age > webhook.lifetime && delivery.attempts > 1
    const pause = tooOld ? null : pauseAfter(delivery.attempts, webhook)
    log[tooOld ? 'error' : 'warn']({ webhook: webhook.name, id: delivery.messageId, event: delivery.event, attempt: delivery.attempts, problem },
      tooOld ? 'webhook given up: a dead letter (everpost webhooks --dead)' : 'webhook not taken')
    await deliveryFailed(sql, webhook.name, delivery, problem, pause)
  }

  return {
    async stop() {
      const stopped = Promise.all(loops.map((loop) => loop.stop()))
      await Promise.race([stopped, sleep(grace, undefined, { ref: false })])
      stopping.abort()
      await stopped
    },
  }
}

function pauseAfter(attempts: number, { minimalBackoffTime, maximalBackoffTime }: Webhook): number {
  return Math.min(minimalBackoffTime * 2 ** Math.min(attempts - 1, 30), maximalBackoffTime) * (1 + 0.1 * Math.random())
}

/** Null when it was taken, which any 2xx says; else what went wrong, in one line. */
async function post({ url, secret }: Webhook, { seq, messageId, at, event, detail }: Delivery, stopping: AbortSignal): Promise<string | null> {
  const id = String(seq)
  const timestamp = Math.floor(Date.now() / 1000)
  const { signal, end } = eitherOf([stopping], timeout)
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
      signal,
    })
    await answer.body?.cancel()
    return answer.ok ? null : `HTTP ${answer.status}`
  } catch (error) {
    if (signal.aborted) return stopping.aborted ? 'broken off: the process stopped' : `no answer within ${timeout / 1000} s`
    const { cause, message } = error as Error & { cause?: Error }
    return (cause?.message ?? message).slice(0, 300)
  } finally {
    end()
  }
}

/** As the Standard Webhooks specification says (v1, HMAC-SHA256); a secret that begins with `whsec_` is base64. */
function signature(secret: string, id: string, timestamp: number, body: string): string {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret)
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`
}
