// GET /v1/events: what happens to messages, as a stream of server-sent events that can be taken up where it broke off.

import { randomBytes } from 'node:crypto'
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { streamSSE } from 'hono/streaming'
import { cursorPattern, endStream, isAhead, presentCursor, readEvents, renewStream } from '../store/events.ts'
import { inRounds } from '../store/rounds.ts'
import type { ApiDeps } from './api.ts'
import { type ApiEnvironment, needs, tokenOf } from './auth.ts'
import { answers } from './routes.ts'
import { eventSchema, idSchema } from './schemas.ts'

// Of what is no cursor the numbers are not read.
const cursor = z.string().regex(cursorPattern, { error: 'the id of an event', abort: true }).refine((text) => {
  const [transaction, seq] = text.split('-').map(BigInt)
  return transaction! < 2n ** 64n && seq! < 2n ** 63n
}, 'the id of an event')

const route = createRoute({
  method: 'get', path: '/v1/events', summary: 'Events as they happen', tags: ['events'], middleware: [needs('events')] as const,
  description: 'Each event is one JSON object, `data`. Begins now, or after the event whose id is given, as long as it is kept (settings: retention.events).',
  request: {
    headers: z.object({ 'last-event-id': cursor.optional() }),
    query: z.object({ message: idSchema.optional(), once: z.enum(['true', 'false']).optional().openapi({ description: 'true: ends when there is nothing more, instead of waiting.' }) }),
  },
  responses: { 200: { description: 'A stream.', content: { 'text/event-stream': { schema: eventSchema } } }, ...answers(401, 403, 422, 503) },
})

/** Milliseconds between two looks for events, and between two at the token, when the stream is renewed as well. */
const [pause, renewal] = [300, 5000]
/** Milliseconds without an event after which something is sent all the same: it finds out whether anyone still listens. */
const silence = 15_000
/** Seconds for which events are written though the stream that wanted them may have ended. */
const kept = 60

export function eventRoutes(app: OpenAPIHono<ApiEnvironment>, { sql, log, stopping }: ApiDeps): void {
  app.openapi(route, async (context) => {
    const { message, once } = context.req.valid('query')
    const last = context.req.valid('header')['last-event-id']
    if (last !== undefined && (await isAhead(sql, last))) {
      return context.json({ error: 'Last-Event-ID is ahead of this database, which was restored: begin again without it' }, 422) as never
    }
    const name = `stream-${randomBytes(6).toString('hex')}`
    await renewStream(sql, name, kept)
    let at = last ?? (await presentCursor(sql))
    return streamSSE(context, async (stream) => {
      let valid = true
      // By itself: a client that reads slowly, or always finds more to read, must miss nothing either.
      const renewing = inRounds({
        interval: renewal,
        async round() {
          valid = (await tokenOf(sql, context)) !== null
          if (valid) await renewStream(sql, name, kept)
          return false
        },
        trouble: (error) => log.warn({ error: String(error) }, 'an event stream was not renewed; tried again'),
      })
      const open = () => valid && !stream.aborted && !stopping.aborted
      let sentAt = performance.now()
      try {
        while (open()) {
          const events = await readEvents(sql, at, 500, message)
          for (const event of events) {
            if (!open()) break
            await stream.writeSSE({ id: event.cursor, event: event.event, data: JSON.stringify(event) })
            sentAt = performance.now()
          }
          at = events.at(-1)?.cursor ?? at
          if (events.length > 0) continue
          if (once === 'true') break
          await stream.sleep(pause)
          if (performance.now() - sentAt < silence) continue
          sentAt = performance.now()
          await stream.write(': alive\n\n')
        }
      } finally {
        await renewing.stop()
        await endStream(sql, name).catch((error) => log.warn({ error: String(error) }, 'an event stream was not ended; it lapses'))
      }
    }) as never
  })
}
