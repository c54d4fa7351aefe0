// The command line: which command takes which options. What a command does stands in a file of its own.

import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { Command, Option } from 'commander'
import { controlActions, controlWords } from '../mail/control.ts'
import { sysexits } from '../mail/sysexits.ts'
import { queueStatuses } from '../store/filter.ts'
import { queueOrders } from '../store/queue.ts'
import { tokenScopes } from '../store/tokens.ts'
import { collect, count, duration, moment, pauseOf, rate } from './arguments.ts'
import { fail } from './errors.ts'
import { endWithReader } from './signals.ts'
import { operator } from './who.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }

const program = new Command('everpost')
  .description('A mail transfer agent whose queue is a set of durable workflows.')
  .version(version)
  .option('-c, --config <file>', 'settings file (default: ./everpost.yaml, where it exists)')
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'everpost: ')) })
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : sysexits.usage))

const config = () => program.opts<{ config?: string }>().config
const json = new Option('--json', 'print JSON')
const why = (what: string) => new Option('--why <text>', what).default('', 'none')
const who = new Option('--who <name>', 'kept as the one who did it').env('EVERPOST_WHO').default(operator(), '').argParser(operator)

program.commandsGroup('Running it:')
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
  .option('--json', 'as it prints anyway')
  .action(async () => (await import('./health.ts')).printHealth(config()))

program.commandsGroup('Sending mail:')
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

program.commandsGroup('Who may send and ask:')
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
  .command('hash-password')
  .description('read a password from standard input and print its hash for `users`')
  .action(async () => (await import('./hash-password.ts')).printHash())

const token = program.command('token').description('who may use the HTTP API')
token
  .command('create')
  .description('make a bearer token and print it, once')
  .argument('<name>', 'shown as who acted')
  .addOption(new Option('--scope <scope...>', 'what it may do').choices(tokenScopes).makeOptionMandatory())
  .option('--expires <duration>', 'how long it is valid, such as 90d; for ever when left out', duration)
  .action(async (name, options) => (await import('./token.ts')).makeToken(config(), name, options))
token.command('list').description('list the tokens').addOption(json).action(async (options) => (await import('./token.ts')).printTokens(config(), options))
token.command('revoke').description('end a token at once').argument('<name>').action(async (name) => (await import('./token.ts')).endToken(config(), name))

/** The options by which messages are chosen. */
function choosing(command: Command): Command {
  return command
    .option('--sender <address>', 'reverse-path; * stands for anything, <> is the null reverse-path')
    .option('--recipient <address>', 'a recipient still queued; * stands for anything')
    .option('--domain <domain>', 'its domain')
    .option('--user <name>', 'who submitted it: a user, or token:NAME; * stands for anything')
    .option('--client <address>', 'the client that handed it in: 192.0.2.7, or 192.0.2.* for all that begin so')
    .option('--next-hop <next hop>', 'where it goes now: mx.example, [relay]:2525, maildir:example.test')
    .option('--older-than <age>', 'accepted longer ago than 2h, or before 2026-11-24T05:00Z', moment)
    .addOption(new Option('--status <status>', 'its state').choices(queueStatuses))
    .option('--reply <text>', 'the last reply holds this: 451, 4.7.1, greylisted')
}

program.commandsGroup('Steering the queue:')
for (const action of controlActions) {
  const command = choosing(program.command(action).description(controlWords[action]).argument('[id...]', 'queue ids; or choose with the options'))
  if (action === 'reroute') command.requiredOption('--to <next hop>', 'as in the settings: [host]:port, or host for its MX; none goes back to settings and DNS')
  if (action === 'set-lifetime') command.requiredOption('--lifetime <duration>', 'such as 10d', duration)
  command
    .option('--dry-run', 'print what would be reached, and change nothing')
    .option('--yes', 'do not ask; messages named by id are never asked about')
    .addOption(why('kept with the message'))
    .addOption(who)
    .addOption(json)
    .action(async (ids, options) => (await import('./control.ts')).control(config(), action, ids, options))
}

program
  .command('replay')
  .description('queue failed recipients again, under the same id; who was delivered to is never sent to again')
  .argument('[id]', 'queue id')
  .option('--all-failed', 'every message with failed recipients; who was bounced or dropped by an operator comes back by id alone')
  .option('--domain <domain>', 'only recipients of this domain')
  .option('--sender <address>', 'only messages with this reverse-path; * stands for anything')
  .option('--recipient <address>', 'only this recipient; * stands for anything')
  .option('--reply <text>', 'only those whose last reply holds this')
  .option('--dead', 'only dead letters: nobody could be told')
  .option('--via <next hop>', 'send to this next hop, as in the settings: [host]:port, or host for its MX; none goes back to settings and DNS')
  .option('--to <address>', 'send to this recipient instead')
  .option('--rate <rate>', 'at most so many messages in a second, minute or hour: 10/s, 600/m', pauseOf)
  .option('--since <time>', 'only what failed since: 2026-11-24T05:00Z, or 2h for two hours ago', moment)
  .option('--dry-run', 'print what would be replayed, and change nothing')
  .option('--yes', 'do not ask; a message named by its id is never asked about')
  .addOption(why('kept with the message'))
  .addOption(who)
  .addOption(json)
  .action(async (id, options) => (await import('./replay.ts')).replay(config(), id, options))

const destination = program.command('destination').description('what next hops are owed and how they do; suspend, resume and limit them')

destination
  .command('list', { isDefault: true })
  .description('destinations that mail waits for, or that had traffic in this hour or the one before')
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
  .addOption(new Option('--for <time>', 'how long').default(3_600_000, '1h').argParser(duration))
  .addOption(why('kept and shown'))
  .addOption(who)
  .action(async (name, options) => (await import('./destination.ts')).suspend(config(), name, options))

destination
  .command('resume')
  .description('end a suspension, or close an open circuit; what waited comes back spread over destinations.resumeOver')
  .argument('<name>', 'as the list names it')
  .addOption(who)
  .action(async (name, options) => (await import('./destination.ts')).resume(config(), name, options))

destination
  .command('limit')
  .description('limit the attempts to a destination, over all workers; a limit that is not named stays')
  .argument('<name>', 'as the list names it, or a next hop')
  .option('--concurrency <count>', 'attempts at a time', count)
  .option('--rate <rate>', 'attempts in a time: 10/s, 100/m, 1000/h', rate)
  .option('--none', 'no limit of its own: as the settings say')
  .action(async (name, options) => (await import('./destination.ts')).limit(config(), name, options))

program.commandsGroup('Looking at it:')
choosing(program.command('queue').description('list queued messages, oldest first'))
  .addOption(new Option('--sort <order>', 'order').choices(queueOrders).default('age'))
  .option('--dead', 'list dead letters instead: failed mail of which nobody could be told')
  .option('--limit <count>', 'at most so many', count, 100)
  .option('--page <number>', 'the first, second, ... so many', count, 1)
  .addOption(json)
  .action(async (options) => (await import('./queue.ts')).printQueue(config(), options))

program
  .command('qshape')
  .description('how many recipients wait, by domain and by age in minutes')
  .addOption(new Option('--by <what>', 'domain of the recipient or of the sender').choices(['recipient', 'sender']).default('recipient'))
  .option('--limit <count>', 'at most so many domains, the largest first', count, 20)
  .addOption(json)
  .action(async (options) => (await import('./qshape.ts')).printShape(config(), options))

program
  .command('trace')
  .description('all messages from or to an address, newest first, queued or settled')
  .argument('<address>', 'an address, or an alias; <> is the null reverse-path')
  .option('--since <time>', 'accepted since: 2026-11-24T05:00Z, or 2h for two hours ago', moment)
  .option('--until <time>', 'accepted before', moment)
  .option('--limit <count>', 'at most so many', count, 50)
  .addOption(json)
  .action(async (address, options) => (await import('./trace.ts')).printTrace(config(), address, options))

program
  .command('watch')
  .description('print what happens to messages while it happens, until Ctrl-C')
  .option('--message <id>', 'only this one')
  .addOption(json)
  .action(async (options) => (await import('./watch.ts')).watch(config(), options))

program
  .command('webhooks')
  .description('what each webhook still has to be told')
  .option('--dead', 'list the events that were given up')
  .option('--retry-dead', 'try those again')
  .option('--limit <count>', 'at most so many', count, 100)
  .addOption(json)
  .action(async (options) => (await import('./webhooks.ts')).printWebhooks(config(), options))

program
  .command('show')
  .description('all that is known of a message: envelope, recipients, attempts, and what happens next')
  .argument('<id>', 'queue id, as the 250 reply gave it')
  .addOption(json)
  .action(async (id, options) => (await import('./show.ts')).show(config(), id, options))

program
  .command('cat')
  .description('print a message octet for octet, as it goes to a next hop: our Received field first, once it is stamped; who reads it is recorded')
  .argument('<id>', 'queue id')
  .option('--headers', 'its header section alone')
  .addOption(why('kept with the message'))
  .addOption(who)
  .action(async (id, options) => (await import('./cat.ts')).cat(config(), id, options))

program
  .command('doctor')
  .description('look for what would lose or stall mail, and say what to do; exit code 1 when something is found')
  .addOption(json)
  .action(async (options) => (await import('./doctor.ts')).doctor(config(), options))

/** After a usage error: where the options of this very command stand. */
function pointToHelp(command: Command, name: string): void {
  command.showHelpAfterError(`(see: ${name} --help)`)
  for (const below of command.commands) pointToHelp(below, `${name} ${below.name()}`)
}
pointToHelp(program, program.name())

// Installed under that name, as programs expect it at /usr/sbin/sendmail.
if (basename(process.argv[1] ?? '') === 'sendmail') process.argv.splice(2, 0, 'sendmail')
// Its flags are its own: nothing after its name is an option of ours.
const sendmailAt = ['-c', '--config'].includes(process.argv[2] ?? '') ? 4 : 2
const askedForHelp = process.argv.length === sendmailAt + 2 && ['-h', '--help'].includes(process.argv[sendmailAt + 1]!)
if (process.argv[sendmailAt] === 'sendmail' && !askedForHelp) process.argv.splice(sendmailAt + 1, 0, '--')

endWithReader()
try {
  await program.parseAsync()
} catch (error) {
  fail(error)
}
