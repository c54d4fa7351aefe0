// A whole Everpost as a process of its own, on a database and task queue of its own: what the scenarios talk to.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createTransport } from 'nodemailer'
import { stringify } from 'yaml'
import { startTemporal } from '../../dev/temporal.ts'
import type { SettingsFile } from '../../settings/schema.ts'
import type { Sql } from '../../store/database.ts'
import { readRecipients } from '../../store/recipients.ts'
import { testDatabase, type TestDatabaseOptions } from './database.ts'
import { until } from './until.ts'

export const program = fileURLToPath(new URL('../../../cli/everpost.mjs', import.meta.url))

export interface Everpost {
  folder: string
  sql: Sql
  /** postgres:// of its database. */
  database: string
  temporal: string
  /** Of each kind of listener, and `http`; known once a process has said ready. */
  ports: Record<string, number>
  start(role?: string, environment?: NodeJS.ProcessEnv): Promise<ChildProcess>
  stop(child: ChildProcess, signal?: NodeJS.Signals): Promise<void>
  /** Sends by SMTP; returns the queue id of the 250 reply. */
  send(to: string | string[], from?: string, raw?: string | Buffer): Promise<string>
  /** Runs an operator's command; never throws. */
  command(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }>
  /** The states of a message's recipients, once they satisfy `done` (default: all settled). */
  states(id: string, done?: (states: string[]) => boolean): Promise<string[]>
  /** Files in the Maildir of a local part at example.test. */
  maildir(name: string): string[]
  end(): Promise<void>
}

/** Prepares one; `start` runs it. Every scenario ends it, failed or not. `address`: of a Temporal of the scenario's own. */
export async function prepareEverpost(settings: SettingsFile = {}, address?: string, options: TestDatabaseOptions = {}): Promise<Everpost> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-scenario-'))
  const database = await testDatabase(options)
  const given = address ?? process.env['EVERPOST_TEST_TEMPORAL']
  const own = given ? null : await startTemporal({ folder, progress: () => {} })
  const temporal = given ?? own!.address
  const config = join(folder, 'everpost.yaml')
  const children = new Set<ChildProcess>()
  writeFileSync(config, stringify({
    listeners: [{ kind: 'smtp', address: '127.0.0.1', port: 0 }],
    http: { address: '127.0.0.1', port: 0 },
    localDomains: { 'example.test': { deliver: 'maildir', path: './mail/{localpart}' } },
    retry: { minimalBackoffTime: '500ms', maximalBackoffTime: '2s' },
    worker: { lease: '2s' },
    database: { url: database.url },
    temporal: { address: temporal, taskQueue: folder },
    ...settings,
  }))

  const everpost: Everpost = {
    folder, sql: database.sql, database: database.url, temporal, ports: {},
    async start(role = 'serve', environment = {}) {
      const child = spawn(process.execPath, [program, '--config', config, role], {
        cwd: folder, stdio: ['ignore', 'pipe', 'inherit'], env: { ...cleanEnvironment(), ...environment },
      })
      children.add(child)
      const log = await untilReady(child)
      for (const { kind, port } of [...log.listeners, { kind: 'http', port: log.http }]) everpost.ports[kind] = port
      return child
    },
    async stop(child, signal = 'SIGTERM') {
      children.delete(child)
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = new Promise((resolve) => child.once('exit', resolve))
      child.kill(signal)
      await exited
    },
    async send(to, from = 'sender@example.test', raw = 'Subject: test\r\n\r\nHello.\r\n') {
      const transport = createTransport({ host: '127.0.0.1', port: everpost.ports['smtp']!, ignoreTLS: true })
      try {
        const { response } = await transport.sendMail({ envelope: { from, to }, raw })
        return /queued as (\w+)/.exec(response)![1]!
      } finally {
        transport.close()
      }
    },
    command(...args) {
      return new Promise((resolve) => {
        execFile(process.execPath, [program, '--config', config, ...args], { cwd: folder, env: cleanEnvironment() }, (error, stdout, stderr) => {
          resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
        })
      })
    },
    async states(id, done = (states) => states.every((state) => !['queued', 'bouncing', 'notifying'].includes(state))) {
      return await until(`message ${id} is settled`, async () => {
        const states = (await readRecipients(database.sql, id, 1000)).map((recipient) => recipient.state)
        return states.length > 0 && done(states) && states
      })
    },
    maildir(name) {
      try {
        return readdirSync(join(folder, 'mail', name, 'new')).map((file) => readFileSync(join(folder, 'mail', name, 'new', file), 'latin1'))
      } catch {
        return []
      }
    },
    async end() {
      for (const child of children) await everpost.stop(child, 'SIGKILL')
      await database.drop()
      await own?.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return everpost
}

/** Without what would override the settings file. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const { DATABASE_URL: _, TEMPORAL_ADDRESS: __, TEMPORAL_NAMESPACE: ___, ...rest } = process.env
  return rest
}

/** The `ready` line of the log; the rest of the log is thrown away, but read, so that the process never blocks on it. */
function untilReady(child: ChildProcess): Promise<{ listeners: { kind: string; port: number }[]; http: number }> {
  return new Promise((resolve, reject) => {
    let text = ''
    const read = (chunk: string) => {
      text = (text + chunk).slice(-100_000)
      const line = text.split('\n').find((line) => line.startsWith('{') && line.includes('"msg":"ready"') && line.endsWith('}'))
      if (!line) return
      child.stdout!.off('data', read).resume()
      resolve(JSON.parse(line))
    }
    child.stdout!.setEncoding('utf8').on('data', read)
    child.once('exit', (code) => reject(new Error(`everpost ended with exit code ${code}:\n${text}`)))
  })
}
