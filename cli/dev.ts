// everpost dev: everything on a fresh machine, each step told, ending in a block that says where it listens and what to try.

import { join, relative, resolve } from 'node:path'
import { ensureCertificate } from '../dev/certificate.ts'
import { stopChildren } from '../dev/child.ts'
import { isTaken } from '../dev/ports.ts'
import { startPostgres } from '../dev/postgres.ts'
import { sinkFaults, startSink } from '../dev/sink.ts'
import { startTemporal } from '../dev/temporal.ts'
import { hashPassword } from '../ingress/password.ts'
import { searchAttributes } from '../mail/search.ts'
import { loadSettings, merge } from '../settings/load.ts'
import type { Settings, SettingsFile } from '../settings/schema.ts'
import { CommandError } from './errors.ts'
import { createLog } from './log.ts'
import { startParts } from './parts.ts'
import { untilSignal } from './signals.ts'
import { type DevNote, lockState, removeDevNote, unlockState, writeDevNote } from './state.ts'

const login = { user: 'alice@example.test', password: 'wonderland' }

/** Under the settings file: what a newcomer needs, with retries short enough to watch. */
async function devDefaults(): Promise<SettingsFile> {
  return {
    users: [{ name: login.user, passwordHash: await hashPassword(login.password) }],
    localDomains: { 'example.test': { deliver: 'maildir', path: './var/mail/{localpart}' } },
    retry: { minimalBackoffTime: '10s', maximalBackoffTime: '5m' },
    destinations: { circuitPause: '10s', circuitMaximalPause: '1m' },
  }
}

type Stops = (() => Promise<unknown>)[]

export async function dev(file: string | undefined): Promise<void> {
  // The terminal that was closed takes it along, and what it started.
  const signalled = untilSignal('SIGHUP')
  const base = await devDefaults()
  const { settings } = loadSettings({ file, base })
  lockState(settings.state)
  let stopping = false
  const say = (line: string) => {
    if (!stopping) console.log(line)
  }
  const stops: Stops = []
  const started = start(settings, base, stops, (line) => say(`  ${line}`)).then(({ note, ui }) => {
    if (!stopping) writeDevNote(settings.state, note)
    say(readyBlock(settings, note, ui))
    return signalled
  })
  // A signal ends the start as well, wherever it is: it fails by what is taken from it, and nobody waits for it.
  const why = await Promise.race([signalled, started]).catch((error: Error) => error)
  if (typeof why === 'string') say('Stopping.')
  stopping = true
  removeDevNote(settings.state)
  for (const stop of [...stops.reverse(), stopChildren]) await stop().catch((error) => console.error(String(error)))
  unlockState(settings.state)
  if (typeof why !== 'string') throw why
  process.exit(0)
}

/** Starts everything; what is to be stopped goes to `stops`, but for the servers that are children. Resolves when the worker polls. */
async function start(settings: Settings, base: SettingsFile, stops: Stops, progress: (line: string) => void): Promise<{ note: DevNote; ui: string | null }> {
  await checkPorts(settings)
  const ui = await startServers(settings, progress).catch((error: Error) => {
    throw new CommandError(error.message)
  })
  const sink = await startSink(join(settings.state, 'sink'))
  stops.push(sink.stop)
  const routes = ['sink.test', '*.sink.test'].map((domain) => ({ domain, nextHop: `[127.0.0.1]:${sink.port}` }))
  settings.routes.push(...routes)
  const log = createLog(settings)
  const running = await startParts('serve', settings, log)
  stops.push(() => running.stop())
  progress('Worker: polling Temporal for the first time')
  await running.ready
  const note: DevNote = {
    base: merge(base, { database: { url: settings.database.url }, temporal: { address: settings.temporal.address, ...(ui === null ? {} : { tls: false }) } }),
    routes,
    listeners: settings.listeners.map((listener, i) => (listener.path === undefined ? { ...listener, port: running.listeners[i]!.port } : listener)),
    http: { address: settings.http.address, port: running.http },
    // The hash has a salt of its own: the file has none that is equal.
    login: settings.users.some(({ passwordHash }) => passwordHash === base.users![0]!.passwordHash) ? login : null,
    certificate: settings.tls!.cert,
  }
  return { note, ui }
}

/** Before anything is started, since that takes its time. */
async function checkPorts({ listeners, http }: Settings): Promise<void> {
  for (const { kind, address, port, key } of [...listeners.map((listener) => ({ ...listener, key: 'listeners' })), { ...http, kind: 'HTTP', key: 'http.port' }]) {
    if (!port || !(await isTaken(port, address))) continue
    throw new CommandError(`Port ${address}:${port} (${kind}) is in use. Stop what listens there, or set another port in ${key}.`)
  }
}

/** Starts what the settings do not name, and completes them. Returns the address of Temporal's UI, if it is ours. */
async function startServers(settings: Settings, progress: (line: string) => void): Promise<string | null> {
  settings.tls ??= await ensureCertificate(join(settings.state, 'tls'), settings.hostname)
  if (!settings.database.url) {
    const postgres = await startPostgres({ folder: settings.state, port: settings.dev.postgresPort, progress })
    settings.database.url = postgres.url
    progress(`Postgres: 127.0.0.1:${postgres.port}`)
  }
  if (settings.temporal.address) return null
  const { temporalPort: port, temporalUiPort: uiPort, temporalInMemory: inMemory } = settings.dev
  const temporal = await startTemporal({ folder: join(settings.state, 'temporal'), port, uiPort, inMemory, progress, searchAttributes })
  // Ours speaks no TLS, though there may be a key for another one in the environment.
  Object.assign(settings.temporal, { address: temporal.address, tls: false })
  progress(`Temporal: ${temporal.address}, by ${temporal.path} (${temporal.route})`)
  return temporal.ui
}

function readyBlock(settings: Settings, { listeners, http, login }: DevNote, ui: string | null): string {
  const notes = { smtp: 'between MTAs', submission: 'STARTTLS and AUTH', submissions: 'TLS and AUTH', lmtp: 'LMTP' }
  const page = `http://${http.address}:${http.port}`
  const domains = Object.entries(settings.localDomains)
  const local = domains.map(([domain, agent]) =>
    `  @${domain}`.padEnd(18) + (agent.deliver === 'maildir' ? relative(process.cwd(), resolve(agent.path)) : agent.deliver))
  const send = `npx everpost send${login ? '' : ' --user <name>'}`
  return [
    '',
    'Everpost is ready.',
    ...listeners.map(({ kind, address, port, path }) => `  ${kind.padEnd(15)} ${path ?? `${address}:${port}`}  ${notes[kind]}`),
    `  operators' page ${page}/  with a token: npx everpost token create me --scope read control`,
    `  health          ${page}/healthz`,
    ...(ui ? [`  Temporal UI     ${ui}`] : []),
    `  ${login ? `user            ${login.user}, password ${login.password}` : 'users           those of the settings: npx everpost user list'}`,
    'Mail stays here for',
    ...local,
    `  @any.sink.test`.padEnd(18) + `${relative(process.cwd(), join(settings.state, 'sink'))}: a mail host that fails as the local part says:`,
    `    ok, ${Object.keys(sinkFaults).join(', ')}`,
    `Try, in another terminal${login ? '' : ', with the password in EVERPOST_PASSWORD'}:`,
    ...domains.slice(0, 1).map(([domain]) => `  ${send} --to bob@${domain} --subject Hello`),
    `  ${send} --to greylist@any.sink.test --to 550@any.sink.test`,
    '  npx everpost show <the id that send printed>',
    'Ctrl-C stops everything; started again, it goes on where it was.',
    '',
  ].join('\n')
}
