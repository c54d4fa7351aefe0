// everpost dev: everything on a fresh machine, each step told, ending in a block that says where it listens and what to try.

import { mkdirSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { ensureCertificate } from '../dev/certificate.ts'
import { startPostgres } from '../dev/postgres.ts'
import { sinkFaults, startSink } from '../dev/sink.ts'
import { startTemporal } from '../dev/temporal.ts'
import { hashPassword } from '../ingress/password.ts'
import { searchAttributes } from '../mail/search.ts'
import { loadSettings } from '../settings/load.ts'
import type { Settings, SettingsFile } from '../settings/schema.ts'
import { CommandError } from './errors.ts'
import { createLog, installTemporalRuntime } from './log.ts'
import { type Running, startParts } from './parts.ts'
import { untilSignal } from './signals.ts'
import { readDevNote, removeDevNote, writeDevNote } from './state.ts'

const user = 'alice@example.test'
const password = 'wonderland'

/** Under the settings file: what a newcomer needs, with retries short enough to watch. */
async function devDefaults(): Promise<SettingsFile> {
  return {
    users: [{ name: user, passwordHash: await hashPassword(password) }],
    localDomains: { 'example.test': { deliver: 'maildir', path: './var/mail/{localpart}' } },
    retry: { minimalBackoffTime: '10s', maximalBackoffTime: '5m' },
    destinations: { circuitPause: '10s', circuitMaximalPause: '1m' },
  }
}

export async function dev(file: string | undefined): Promise<void> {
  const { settings } = loadSettings({ file, base: await devDefaults() })
  const other = readDevNote(settings.state)
  if (other) throw new CommandError(`dev mode runs here already (pid ${other.pid}). Stop it with Ctrl-C where it runs.`)
  const progress = (line: string) => console.log(`  ${line}`)
  const stops: (() => Promise<unknown>)[] = []
  let stopping = false
  const stop = async () => {
    stopping = true
    removeDevNote(settings.state)
    for (const stopPart of stops.reverse()) await stopPart().catch((error) => console.error(String(error)))
  }
  const signalled = untilSignal()
  void signalled.then(async () => {
    console.log('Stopping.')
    await stop()
    process.exit(0)
  })
  try {
    mkdirSync(settings.state, { recursive: true })
    const ui = await startServers(settings, progress, stops)
    const sink = await startSink(join(settings.state, 'sink'))
    stops.push(sink.stop)
    for (const domain of ['sink.test', '*.sink.test']) settings.routes.push({ domain, nextHop: `[127.0.0.1]:${sink.port}` })
    const log = createLog(settings)
    installTemporalRuntime(log)
    const running = await startParts('serve', settings, log)
    stops.push(() => running.stop())
    progress('Worker: polling Temporal for the first time')
    await running.ready
    writeDevNote(settings.state, {
      pid: process.pid, databaseUrl: settings.database.url, temporalAddress: settings.temporal.address, user, password, certificate: settings.tls!.cert,
    })
    if (!stopping) console.log(readyBlock(settings, running, ui))
  } catch (error) {
    if (stopping) return
    await stop()
    throw new CommandError((error as Error).message)
  }
}

/** Starts what the settings do not name, and completes them. Returns the address of Temporal's UI, if it is ours. */
async function startServers(settings: Settings, progress: (line: string) => void, stops: (() => Promise<unknown>)[]): Promise<string | null> {
  settings.tls ??= await ensureCertificate(join(settings.state, 'tls'), settings.hostname)
  if (!settings.database.url) {
    const postgres = await startPostgres({ folder: settings.state, port: settings.dev.postgresPort, progress })
    stops.push(postgres.stop)
    settings.database.url = postgres.url
    progress(`Postgres: 127.0.0.1:${postgres.port}`)
  }
  if (settings.temporal.address) return null
  const { temporalPort: port, temporalUiPort: uiPort, temporalInMemory: inMemory } = settings.dev
  const temporal = await startTemporal({ folder: join(settings.state, 'temporal'), port, uiPort, inMemory, progress, searchAttributes })
  stops.push(temporal.stop)
  settings.temporal.address = temporal.address
  progress(`Temporal: ${temporal.address}, by ${temporal.route}`)
  return temporal.ui
}

function readyBlock(settings: Settings, running: Running, ui: string | null): string {
  const notes = { smtp: 'between MTAs', submission: 'STARTTLS and AUTH', submissions: 'TLS and AUTH', lmtp: 'LMTP' }
  const local = Object.entries(settings.localDomains).map(([domain, agent]) =>
    `  @${domain}`.padEnd(18) + (agent.deliver === 'maildir' ? relative(process.cwd(), resolve(agent.path)) : agent.deliver))
  return [
    '',
    'Everpost is ready.',
    ...running.listeners.map(({ kind, address, port }) => `  ${kind.padEnd(15)} ${address}:${port}  ${notes[kind as keyof typeof notes]}`),
    `  operators' page http://${settings.http.address}:${running.http}/  with a token: npx everpost token create me --scope read control`,
    `  health          http://${settings.http.address}:${running.http}/healthz`,
    ...(ui ? [`  Temporal UI     ${ui}`] : []),
    `  user            ${user}, password ${password}`,
    'Mail stays here for',
    ...local,
    `  @any.sink.test`.padEnd(18) + `${relative(process.cwd(), join(settings.state, 'sink'))}: a mail host that fails as the local part says:`,
    `    ok, ${Object.keys(sinkFaults).join(', ')}`,
    'Try, in another terminal:',
    '  npx everpost send --to bob@example.test --subject Hello',
    '  npx everpost send --to greylist@any.sink.test --to 550@any.sink.test',
    '  npx everpost show <the id that send printed>',
    'Ctrl-C stops everything; started again, it goes on where it was.',
    '',
  ].join('\n')
}
