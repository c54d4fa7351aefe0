// Tells webhooks what happened: signed, in order for each message, tried again until taken or given up. Any number of
// processes may run it; the queue is in Postgres.

import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { eitherOf } from '../activities/either.ts'
import type { Settings } from '../settings/schema.ts'
import type { Sql } from '../store/database.ts'
import { inRounds, type Rounds } from '../store/rounds.ts'
import { claimDeliveries, deliveryFailed, deliveryTaken, discardDead, giveUpOld, subscribeWebhooks, type WebhookDelivery } from '../store/webhooks.ts'

type Webhook = Settings['webhooks'][number]

const atOnce = 20
/** After so many posts in a row without an answer one at a time asks whether there is one again. */
const patience = 5
const lease = 60_000
const timeout = 10_000
/** Dead letters that are forgotten at a time, and milliseconds between two looks for them. */
const [batch, cleanEvery] = [1000, 600_000]
const unanswered = `no answer within ${timeout / 1000} s`
/** Milliseconds for the posts under way when the process stops. */
const grace = 2000

/**
 * Looks every `interval` milliseconds, and again at once while there is more; for each webhook by itself, so that none waits for another.
 * Without webhooks in the settings it only says so to the database. What was given up is forgotten after its time.
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

  const trouble = (webhook?: Webhook) => (error: unknown) => log.warn({ webhook: webhook?.name, error: String(error) }, 'webhooks wait for the database')
  const posts = settings.webhooks.map((webhook) => postsTo(webhook))
  const loops = [
    ...posts.map(({ webhook, round }) => inRounds({ interval, round, trouble: trouble(webhook) })),
    inRounds({
      interval: cleanEvery,
      async round() {
        await subscribe()
        return (await discardDead(sql, settings.retention.deadEvents, batch)) === batch
      },
      trouble: trouble(),
    }),
  ]

  /** Posts side by side, another as soon as one has ended. */
  function postsTo(webhook: Webhook) {
    const underWay = new Set<Promise<void>>()
    let silent = 0 // posts in a row that got no answer

    async function round(): Promise<boolean> {
      await subscribe()
      const places = silent < patience ? atOnce : 1
      if (underWay.size < places) {
        const { deliveries, more } = await claimDeliveries(sql, webhook.name, places - underWay.size, lease)
        for (const delivery of deliveries) begin(delivery)
        if (underWay.size < places) return more
      }
      await Promise.race(underWay)
      return true
    }

    function begin(delivery: WebhookDelivery): void {
      // Where the database is away the next look says so, and the lease ends.
      const ended: Promise<void> = deliver(delivery).catch(() => {}).finally(() => underWay.delete(ended))
      underWay.add(ended)
    }

    async function deliver(delivery: WebhookDelivery): Promise<void> {
      const problem = await post(webhook, delivery, stopping.signal)
      if (problem === null) {
        silent = 0
        return await deliveryTaken(sql, webhook.name, delivery)
      }
      // It had less than its time: due again at once.
      if (stopping.signal.aborted) return await deliveryFailed(sql, webhook.name, delivery, problem, 0)
      silent = problem === unanswered ? silent + 1 : 0
      // Not at the first try, in case it was we who were away; but where nobody answers it is as good as tried.
      const tooOld = delivery.age > webhook.lifetime && (delivery.attempts > 1 || silent >= patience)
      const pause = tooOld ? null : pauseAfter(delivery.attempts, webhook)
      log[tooOld ? 'error' : 'warn']({ webhook: webhook.name, id: delivery.messageId, event: delivery.event, attempt: delivery.attempts, problem },
        tooOld ? 'webhook given up: a dead letter (everpost webhooks --dead)' : 'webhook not taken')
      const events = tooOld ? await giveUpOld(sql, webhook.name, delivery, { lifetime: webhook.lifetime, lease, problem }) : 0
      if (events > 0) log.error({ webhook: webhook.name, events }, 'webhook given up: all that is as old')
      await deliveryFailed(sql, webhook.name, delivery, problem, pause)
    }

    return { webhook, round, ended: () => Promise.all(underWay) }
  }

  return {
    async stop() {
      const stopped = Promise.all(loops.map((loop) => loop.stop())).then(() => Promise.all(posts.map(({ ended }) => ended())))
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
async function post({ url, secret }: Webhook, { seq, messageId, at, event, detail }: WebhookDelivery, stopping: AbortSignal): Promise<string | null> {
  // The time, too: a database that was taken back to an older state counts from there again, and receivers drop an id that they have had.
  const id = `${seq}-${at.getTime()}`
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
    if (signal.aborted) return stopping.aborted ? 'broken off: the process stopped' : unanswered
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
