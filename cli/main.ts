// The command line: which command takes which options. What a command does stands in a file of its own.

import { readFileSync } from 'node:fs'
import { Command, InvalidArgumentError, Option } from 'commander'
import { durationForm, parseDuration, parseRate, rateForm } from '../settings/units.ts'
import { fail } from './errors.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }

const program = new Command('everpost')
  .description('A mail transfer agent whose queue is a set of durable workflows.')
  .version(version)
  .option('-c, --config <file>', 'settings file (default: ./everpost.yaml, where it exists)')
  .showHelpAfterError('(see: everpost --help)')

const config = () => program.opts<{ config?: string }>().config
const json = new Option('--json', 'print JSON')

function count(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new InvalidArgumentError('a whole number from 1')
  return Number(text)
}

/** A moment: ISO 8601, or a duration before now. */
function moment(text: string): Date {
  const before = parseDuration(text)
  const at = before === null ? new Date(text) : new Date(Date.now() - before)
  if (Number.isNaN(at.getTime())) throw new InvalidArgumentError('a time such as 2026-11-24T05:00Z, or how long ago, such as 2h')
  return at
}

function duration(text: string): number {
  const time = parseDuration(text)
  if (time === null || time === 0) throw new InvalidArgumentError(durationForm)
  return time
}

function rate(text: string): number {
  const perSecond = parseRate(text)
  if (perSecond === null) throw new InvalidArgumentError(rateForm)
  return perSecond
}

const collect = (value: string, before: string[] = []) => [...before, value]

program
  .command('dev')
  .description('run everything on this machine, with its own Postgres and Temporal unless DATABASE_URL and TEMPORAL_ADDRESS are set')
  .action(async () => (await import('./dev.ts')).dev(config()))

for (const [role, what] of [
  ['serve', 'run ingress and worker in one process'],
  ['ingress', 'accept mail'],
  ['worker', 'run the workflows and their activities'],
] as const) {
  program.command(role).description(what).action(async () => (await import('./roles.ts')).runRole(role, config()))
}

program
  .command('migrate')
  .description('bring the database schema up to date; every role does so when it starts')
  .action(async () => (await import('./migrate.ts')).runMigrate(config()))

program
  .command('config')
  .description('check the settings and print those that differ from the defaults')
  .option('--all', 'print every setting')
  .addOption(json)
  .action(async (options) => (await import('./config.ts')).printConfig(config(), options))

program
  .command('health')
  .description('ask the Everpost process of this machine, over HTTP, whether it is well; exit code 69 when not')
  .action(async () => (await import('./health.ts')).printHealth(config()))

program
  .command('hash-password')
  .description('read a password from standard input and print its hash for `users`')
  .action(async () => (await import('./hash-password.ts')).printHash())

program
  .command('send')
  .description('submit a message to a running Everpost, or to any submission server')
  .requiredOption('--to <address>', 'recipient; may be given more than once', collect)
  .option('--from <address>', 'reverse-path and From (default: the user)')
  .option('--subject <text>', 'subject', 'A message from everpost send')
  .option('--text <text>', 'body text', 'Hello from Everpost.')
  .option('--file <path>', 'a whole message (RFC 5322) instead; - for standard input')
  .option('--server <host:port>', 'submission server (default: the first submission listener of the settings)')
  .option('--user <name>', 'user to authenticate as')
  .option('--password <password>', 'its password; better from the environment: EVERPOST_PASSWORD')
  .option('--implicit-tls', 'TLS from the start, as on port 465')
  .option('--insecure', 'accept any certificate')
  .action(async (options) => (await import('./send.ts')).send(config(), options))

program
  .command('queue')
  .description('list queued messages, oldest first')
  .option('--limit <count>', 'at most so many', count, 100)
  .addOption(json)
  .action(async (options) => (await import('./queue.ts')).printQueue(config(), options))

program
  .command('show')
  .description('all that is known of a message: envelope, recipients, attempts, and what happens next')
  .argument('<id>', 'queue id, as the 250 reply gave it')
  .addOption(json)
  .action(async (id, options) => (await import('./show.ts')).show(config(), id, options))

program
  .command('replay')
  .description('queue failed recipients again, under the same id; who was delivered to is never sent to again')
  .argument('[id]', 'queue id')
  .option('--all-failed', 'every message with failed recipients')
  .option('--domain <domain>', 'only recipients of this domain')
  .option('--since <time>', 'only what failed since: 2026-11-24T05:00Z, or 2h for two hours ago', moment)
  .option('--dry-run', 'print what would be replayed, and change nothing')
  .option('--why <text>', 'kept with the message', '')
  .addOption(json)
  .action(async (id, options) => (await import('./replay.ts')).replay(config(), id, options))

program
  .command('doctor')
  .description('look for what would lose or stall mail, and say what to do; exit code 1 when something is found')
  .addOption(json)
  .action(async (options) => (await import('./doctor.ts')).doctor(config(), options))

const destination = program.command('destination').description('what next hops are owed and how they do; suspend, resume and limit them')

destination
  .command('list', { isDefault: true })
  .description('destinations that mail waits for, or that had traffic in the last hour')
  .addOption(json)
  .action(async (options) => (await import('./destination.ts')).listDestinations(config(), options))

destination
  .command('show')
  .description('one destination: its queue, its state and why, its last reply')
  .argument('<name>', 'as the list names it, or a next hop')
  .addOption(json)
  .action(async (name, options) => (await import('./destination.ts')).showDestination(config(), name, options))

destination
  .command('suspend')
  .description('make no attempt for a while; mail for it waits, and its backoff does not advance')
  .argument('<name>', 'as the list names it, or a next hop')
  .option('--for <time>', 'how long', duration, 3_600_000)
  .option('--why <text>', 'kept and shown', '')
  .action(async (name, options) => (await import('./destination.ts')).suspend(config(), name, options))

destination
  .command('resume')
  .description('end a suspension; what waited comes back spread over destinations.resumeOver')
  .argument('<name>', 'as it was suspended')
  .action(async (name) => (await import('./destination.ts')).resume(config(), name))

destination
  .command('limit')
  .description('limit the attempts to a destination, over all workers')
  .argument('<name>', 'as the list names it, or a next hop')
  .option('--concurrency <count>', 'attempts at a time', count)
  .option('--rate <rate>', 'attempts in a time: 10/s, 100/m, 1000/h', rate)
  .option('--none', 'no limit of its own: as the settings say')
  .action(async (name, options) => (await import('./destination.ts')).limit(config(), name, options))

try {
  await program.parseAsync()
} catch (error) {
  fail(error)
}
