// The HTTP listener: health for whoever watches the process, and the API. Nothing but health is open without a token, unless the settings open the metrics.

import { setTimeout as sleep } from 'node:timers/promises'
import { serve } from '@hono/node-server'
import type { Sql } from '../store/database.ts'
import { type ApiDeps, apiRoutes } from './api.ts'
import { bearer, needs } from './auth.ts'
import { pageRoutes } from './page.ts'

export interface ConsoleDeps {
  sql: Sql
  /** Connections that only those who watch the process use: they must have their answer while what operators ask waits. */
  watched: Sql
  address: string
  port: number
  /** What this process does at the moment, by part: `{ worker: "polling" }`. */
  parts: () => Record<string, string>
  metrics: { text: () => Promise<string>; open: boolean }
  api: Omit<ApiDeps, 'sql' | 'stopping'>
}

export interface Console {
  port: number
  /** No new connections; requests under way are answered, for at most two seconds. */
  stop(): Promise<void>
}

/** Milliseconds for requests under way when it stops: what a submission has committed must still be said. */
const grace = 2000
/** Milliseconds for the database to answer: less than health checks wait for us. */
const patience = 2500

/** Serves `/healthz` (the process answers), `/readyz` (the database does, too, and in time; 503 when not), `/metrics`, the API and the page for people. */
export async function startConsole(deps: ConsoleDeps): Promise<Console> {
  const stopping = new AbortController()
  let asked: Promise<unknown> | null = null
  /** Settles when the database has said something: asked once at a time, however many want to know. */
  const answers = () => asked ??= deps.watched`select 1`.finally(() => {
    asked = null
  })
  const app = apiRoutes({ ...deps.api, sql: deps.sql, stopping: stopping.signal })
  app.get('/healthz', (context) => context.json({ status: 'ok', ...deps.parts() }))
  app.get('/readyz', async (context) => {
    try {
      await Promise.race([answers(), sleep(patience, undefined, { ref: false }).then(() => { throw new Error(`no answer within ${patience / 1000} s`) })])
      return context.json({ status: 'ready', ...deps.parts() })
    } catch (error) {
      return context.json({ status: 'database away', error: (error as Error).message }, 503)
    }
  })
  pageRoutes(app, { ...deps.api, sql: deps.sql })
  if (!deps.metrics.open) app.use('/metrics', bearer(deps.watched), needs('metrics'))
  app.get('/metrics', async (context) => context.body(await deps.metrics.text(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }))
  // With the last answer its connection ends, rather than wait for another request.
  const answer: typeof app.fetch = async (...request) => {
    const response = await app.fetch(...request)
    if (stopping.signal.aborted) response.headers.set('connection', 'close')
    return response
  }
  return await new Promise((resolve, reject) => {
    const server = serve({ fetch: answer, hostname: deps.address, port: deps.port, serverOptions: { maxHeaderSize: 64 * 1024 } }, (info) => {
      resolve({ port: info.port, stop: () => new Promise((done) => {
        stopping.abort()
        const last = setTimeout(() => 'closeAllConnections' in server && server.closeAllConnections(), grace)
        server.close(() => {
          clearTimeout(last)
          done()
        })
      }) })
    })
    server.on('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'is in use. Set http.port to another' : `cannot be bound (${error.code}). Check http.address and http.port`
      reject(new Error(`The HTTP port ${deps.address}:${deps.port} ${why}.`, { cause: error }))
    })
  })
}
