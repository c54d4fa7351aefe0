// The command line: which command takes which options. What a command does stands in a file of its own.

import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { parseDuration } from '../settings/units.ts'
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
  .command('sendmail')
  .description('take a message from standard input, as sendmail does: -t -i -oi -f -F -N -bs and recipients')
  .argument('[arguments...]')
  .action(async (words) => (await import('./sendmail.ts')).sendmail(config(), words))

const user = program.command('user').description('who may submit mail, beside the users of the settings')
user
  .command('add')
  .description('add a user; the password comes from standard input, or EVERPOST_PASSWORD')
  .argument('<name>', 'most often an address')
  .option('--address <address>', 'another reverse-path of theirs; @example.test for a whole domain; may be given more than once', collect)
  .action(async (name, options) => (await import('./user.ts')).userAdd(config(), name, options))
user
  .command('remove')
  .description('remove a user')
  .argument('<name>')
  .action(async (name) => (await import('./user.ts')).userRemove(config(), name))
user
  .command('list')
  .description('list the users of the settings and of the database')
  .addOption(json)
  .action(async (options) => (await import('./user.ts')).userList(config(), options))
user
  .command('passwd')
  .description('change the password of a user; the new one comes from standard input, or EVERPOST_PASSWORD')
  .argument('<name>')
  .action(async (name) => (await import('./user.ts')).userPasswd(config(), name))

const alias = program.command('alias').description('addresses that stand for others, beside the aliases of the settings')
alias
  .command('set')
  .description('make an alias of a local domain, or give it other targets')
  .argument('<address>')
  .argument('<targets...>', 'addresses, here or elsewhere; the address itself keeps its own mailbox')
  .action(async (address, targets) => (await import('./alias.ts')).aliasSet(config(), address, targets))
alias
  .command('remove')
  .description('remove an alias')
  .argument('<address>')
  .action(async (address) => (await import('./alias.ts')).aliasRemove(config(), address))
alias
  .command('list')
  .description('list the aliases of the settings and of the database')
  .addOption(json)
  .action(async (options) => (await import('./alias.ts')).aliasList(config(), options))

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

// Installed under that name, as programs expect it at /usr/sbin/sendmail.
if (basename(process.argv[1] ?? '') === 'sendmail') process.argv.splice(2, 0, 'sendmail')
// Its flags are its own: nothing after its name is an option of ours.
const sendmailAt = ['-c', '--config'].includes(process.argv[2] ?? '') ? 4 : 2
if (process.argv[sendmailAt] === 'sendmail') process.argv.splice(sendmailAt + 1, 0, '--')

try {
  await program.parseAsync()
} catch (error) {
  fail(error)
}
