// A whole Everpost as a process of its own, on a database and task queue of its own: what the scenarios talk to.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createTransport } from 'nodemailer'
import { stringify } from 'yaml'
import { startTemporal } from '../../dev/temporal.ts'
import type { SettingsFile } from '../../settings/schema.ts'
import type { Sql } from '../../store/database.ts'
import { readRecipients } from '../../store/recipients.ts'
import { testDatabase } from './database.ts'

const program = fileURLToPath(new URL('../../../cli/everpost.mjs', import.meta.url))

export interface Everpost {
  folder: string
  sql: Sql
  temporal: string
  /** Of the smtp listener; known once the process has said ready. */
  port: number
  start(role?: string): Promise<ChildProcess>
  stop(child: ChildProcess, signal?: NodeJS.Signals): Promise<void>
  /** Sends by SMTP; returns the queue id of the 250 reply. */
  send(to: string | string[], from?: string, raw?: string): Promise<string>
  /** The states of a message's recipients, once they satisfy `done` (default: all settled). */
  states(id: string, done?: (states: string[]) => boolean): Promise<string[]>
  /** Files in the Maildir of a local part at example.test. */
  maildir(name: string): string[]
  end(): Promise<void>
}

/** Prepares one; `start` runs it. Every scenario ends it, failed or not. */
export async function prepareEverpost(settings: SettingsFile = {}): Promise<Everpost> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-scenario-'))
  const database = await testDatabase()
  const given = process.env['EVERPOST_TEST_TEMPORAL']
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
    folder, sql: database.sql, temporal, port: 0,
    async start(role = 'serve') {
      const child = spawn(process.execPath, [program, '--config', config, role], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] })
      children.add(child)
      const log = await untilReady(child)
      const listener = log.listeners.find(({ kind }) => kind === 'smtp')
      if (listener) everpost.port = listener.port
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
      const transport = createTransport({ host: '127.0.0.1', port: everpost.port, ignoreTLS: true })
      try {
        const { response } = await transport.sendMail({ envelope: { from, to }, raw })
        return /queued as (\w+)/.exec(response)![1]!
      } finally {
        transport.close()
      }
    },
    async states(id, done = (states) => states.every((state) => !['queued', 'bouncing'].includes(state))) {
      for (let waited = 0; ; waited += 100) {
        const states = (await readRecipients(database.sql, id, 1000)).map((recipient) => recipient.state)
        if (states.length > 0 && done(states)) return states
        if (waited > 60_000) throw new Error(`message ${id} stays ${states.join()}`)
        await sleep(100)
      }
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

/** The `ready` line of the log; the rest of the log is thrown away, but read, so that the process never blocks on it. */
function untilReady(child: ChildProcess): Promise<{ listeners: { kind: string; port: number }[] }> {
  return new Promise((resolve, reject) => {
    let text = ''
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-100_000)
      const line = text.split('\n').find((line) => line.includes('"msg":"ready"') && line.endsWith('}'))
      if (line) resolve(JSON.parse(line))
    })
    child.once('exit', (code) => reject(new Error(`everpost ended with exit code ${code}:\n${text}`)))
  })
}
