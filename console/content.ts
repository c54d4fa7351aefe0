// GET /v1/messages/{id}/content, and what `everpost cat` prints: the octets of a message. Each reading is recorded with it, as any action is.

import { ReadableStream } from 'node:stream/web'
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { headerSection } from '../mail/headers.ts'
import { recordActions } from '../store/actions.ts'
import { relayedContent } from '../store/bodies.ts'
import type { Sql } from '../store/database.ts'
import { readMessage } from '../store/messages.ts'
import type { ApiDeps } from './api.ts'
import { type ApiEnvironment, needs } from './auth.ts'
import { answers, idParameter } from './routes.ts'

export interface Reading {
  who: string
  why: string
  /** The header section alone, without the empty line that ends it. */
  headers: boolean
}

export type Content = { octets: AsyncIterable<Uint8Array>; length: number } | { problem: 'unknown' | 'gone' }

/** The message as it goes to a next hop: our Received field first, once it is stamped; else as it was received. */
export async function readContent(sql: Sql, id: string, { who, why, headers }: Reading): Promise<Content> {
  const message = await readMessage(sql, id)
  if (!message) return { problem: 'unknown' }
  if (message.bodyReleasedAt) return { problem: 'gone' }
  // Before the first octet: who has read it stands there, whatever becomes of the reading.
  await recordActions(sql, { who, action: 'read', why }, [{ id, detail: headers ? { headers } : {} }])
  const octets = relayedContent(sql, message)
  if (!headers) return { octets, length: (message.trace?.length ?? 0) + message.size }
  const section = await headerSection(octets, Number.POSITIVE_INFINITY)
  return { octets: (async function* () { yield section })(), length: section.length }
}

const route = createRoute({
  method: 'get', path: '/v1/messages/{id}/content', summary: 'The message itself, octet for octet', tags: ['messages'], middleware: [needs('content')] as const,
  description: 'As it goes to a next hop: our Received field first, once a worker has stamped it. Each reading is recorded with the message, as the action `read`.',
  request: {
    params: idParameter,
    query: z.object({ headers: z.enum(['true', 'false']).optional().openapi({ description: 'true: the header section alone, without the empty line that ends it.' }) }),
  },
  responses: {
    200: { description: 'The message.', content: { 'message/rfc822': { schema: z.string().openapi({ format: 'binary' }) } } }, ...answers(401, 403, 404, 410, 422, 503),
  },
})

export function contentRoutes(app: OpenAPIHono<ApiEnvironment>, { sql }: ApiDeps): void {
  app.openapi(route, async (context) => {
    const { id } = context.req.valid('param')
    const headers = context.req.valid('query').headers === 'true'
    const content = await readContent(sql, id, { who: `token:${context.get('token').name}`, why: '', headers })
    if ('problem' in content) {
      const [error, code] = content.problem === 'unknown' ? [`there is no message ${id}`, 404] as const : ['its body is no longer kept (settings: retention)', 410] as const
      return context.json({ error }, code) as never
    }
    const stream = ReadableStream.from(content.octets) as globalThis.ReadableStream<Uint8Array>
    return context.body(stream, 200, { 'content-type': 'message/rfc822', 'content-length': String(content.length) }) as never
  })
}
