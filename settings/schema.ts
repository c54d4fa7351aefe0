// The settings: every key, its form, its default and its sentence in docs/settings.md. Nothing is read from disk here.

import { z } from 'zod'
import { reportTexts } from '../mail/report-texts.ts'
import { parseNextHop } from '../mail/route.ts'
import { durationForm, parseDuration, parseRate, parseSize, rateForm, sizeForm } from './units.ts'

const duration = (fallback: string) =>
  z
    .string({ error: durationForm })
    .refine((text) => parseDuration(text) !== null, { error: durationForm })
    .default(fallback)
    .transform((text) => parseDuration(text)!)

const size = (fallback: string) =>
  z
    .string({ error: sizeForm })
    .refine((text) => parseSize(text) !== null, { error: sizeForm })
    .default(fallback)
    .transform((text) => parseSize(text)!)

const rate = z.string({ error: rateForm }).refine((text) => parseRate(text) !== null, { error: rateForm })
const port = z.int({ error: 'a port from 1 to 65535' }).min(1, 'a port from 1 to 65535').max(65535, 'a port from 1 to 65535')
const anyPort = z.int().min(0, 'a port, or 0 for a free one').max(65535, 'a port, or 0 for a free one').default(0)
const count = (fallback: number) => z.int().min(1, 'a whole number from 1').default(fallback)
const address = z.string().min(1, 'an IP address or a host name')
const domain = z.string().regex(/^[^\s@/]+$/, 'a domain name, such as example.test')

const listener = z
  .strictObject({
    kind: z
      .enum(['smtp', 'submission', 'submissions'])
      .describe('smtp: between MTAs, port 25; submission: STARTTLS and AUTH, port 587 (RFC 6409); submissions: TLS from the start and AUTH, port 465 (RFC 8314).'),
    address: address.describe('IP address or host name to listen on; `0.0.0.0` or `::` for all.'),
    port: z.int().min(0).max(65535).describe('0 takes a free one.'),
  })
  .describe('One listening socket.')

const localDomain = z.discriminatedUnion('deliver', [
  z.strictObject({
    deliver: z.literal('maildir'),
    path: z.string().min(1, 'a folder; {localpart} and {domain} stand for the recipient').describe('A folder; `{localpart}` and `{domain}` stand for the recipient.'),
  }),
  z.strictObject({
    deliver: z.literal('lmtp'),
    host: address.describe('IP address or host name of the LMTP server.'),
    port: port.describe('Its port; LMTP has none of its own.'),
    returnPath: z.boolean().default(false).describe('Whether we put Return-Path first; false leaves it to the LMTP server, as Dovecot and Cyrus expect.'),
  }),
  z.strictObject({
    deliver: z.literal('pipe'),
    command: z
      .array(z.string())
      .min(1, 'the program and its arguments, as a list; {localpart}, {domain} and {sender} stand for the envelope')
      .describe('Program and arguments, run without a shell; `{localpart}`, `{domain}` and `{sender}` stand for the envelope. Exit codes as in sysexits.h: 75 defers.'),
    timeout: duration('10m').describe('After it the program is killed and the message deferred.'),
  }),
])

const nextHop = z.string().superRefine((text, context) => {
  try {
    parseNextHop(text)
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message })
  }
})

const route = z.strictObject({
  domain: domain.describe('A domain, `*.domain` for its subdomains, or `*` for all.'),
  nextHop: nextHop.describe('`host`, `host:port`, `[host]:port` or `[address]:port`; brackets suppress the MX look-up.'),
  tls: z
    .enum(['none', 'may', 'encrypt', 'verify'])
    .optional()
    .describe('none: never; may (the default): when offered, else in the clear; encrypt: always, any certificate; verify: always, with a certificate that is valid for the host.'),
})

/** One value or a list of them, as a list. */
const several = <T extends z.ZodType>(each: T, what: string) =>
  z.union([each, z.array(each).min(1)], { error: what }).transform((value) => [value].flat() as z.output<T>[]).optional()

const pattern = several(z.string().min(1), 'a name, *.name for all below it, or a list of these')
const code = several(z.union([z.string(), z.int()]).transform(String).pipe(z.string().regex(/^[45][0-9x]{2}$/)), 'a reply code such as 421, 45x or 4xx, or a list of these')
const enhancedPattern = several(z.string().regex(/^[45]\.(\d{1,3}|x)\.(\d{1,3}|x)$/), 'an enhanced status code such as 4.2.2 or 4.7.x, or a list of these')
const phases = ['dns', 'connect', 'greeting', 'ehlo', 'tls', 'auth', 'mail', 'rcpt', 'data', 'dot', 'local'] as const
const phase = several(z.enum(phases), `one of ${phases.join(', ')}, or a list of these`)
const pause = z.string().refine((text) => parseDuration(text) !== null, { error: durationForm }).transform((text) => parseDuration(text)!)
const text = z.string().superRefine((source, context) => {
  try {
    new RegExp(source)
  } catch (error) {
    context.addIssue({ code: 'custom', message: `a regular expression: ${(error as Error).message}` })
  }
}).transform((source) => new RegExp(source, 'i')).optional()

const retryRule = z.strictObject({
  name: z.string().min(1).optional().describe('Shown with the attempts that it decided; default: its place in the list.'),
  match: z.strictObject({ domain: pattern, nextHop: pattern, phase, code, enhanced: enhancedPattern, text })
    .describe('All that is named must fit; each but text may be a list: `domain` of the recipient, `nextHop` (or the host that answered), '
      + '`phase`, reply `code`, `enhanced` code, `text` (regular expression).'),
  then: z.strictObject({
    action: z.enum(['retry', 'defer', 'bounce', 'nextHost', 'suspendDestination']).default('retry'),
    schedule: z.array(pause).min(1).optional(),
    for: pause.optional(),
    enhanced: z.string().regex(/^[45]\.\d{1,3}\.\d{1,3}$/, 'an enhanced status code such as 5.7.1').optional(),
  }).describe('`action`: retry (on `schedule`, a list of pauses of which the last repeats), defer (even a 5xx, `for` a time or on `schedule`), bounce, '
    + 'nextHost (ask the next MX even after a 5xx), suspendDestination (`for` a time); `enhanced`: the code to report.'),
})

const lifetime = z.strictObject({
  from: pattern.describe('Reverse-path: an address, a domain, `*.domain`, or a list.'),
  users: several(z.string().min(1), 'a user name, or a list').describe('Authenticated users.'),
  lifetime: duration('5d').describe('How long such a message is tried.'),
})

/** Each text of a report may be replaced. */
const { advice: _, ...plainTexts } = reportTexts.en
const texts = {
  ...(Object.fromEntries(Object.keys(plainTexts).map((name) => [name, z.string().optional()])) as Record<keyof typeof plainTexts, z.ZodOptional<z.ZodString>>),
  advice: z.record(z.string(), z.string()).optional(),
}

const section = <T extends z.core.$ZodLooseShape>(shape: T) => z.strictObject(shape).prefault({} as never)

export const settingsSchema = z.strictObject({
  hostname: z
    .string()
    .regex(/^[A-Za-z0-9.-]+$/, 'a host name, such as mx.example.test')
    .default('mx.example.test')
    .describe('The name of this MTA: in the greeting, EHLO, Received and DSNs. The same on every process of one installation.'),
  state: z.string().default('./var').describe('Folder for what this machine keeps outside Postgres: in dev mode the database itself, downloads and certificates.'),
  listeners: z
    .array(listener)
    .default([
      { kind: 'smtp', address: '127.0.0.1', port: 2525 },
      { kind: 'submission', address: '127.0.0.1', port: 2587 },
      { kind: 'submissions', address: '127.0.0.1', port: 2465 },
    ])
    .describe('Where mail is accepted.'),
  http: z
    .strictObject({
      address: address.default('127.0.0.1').describe('IP address to listen on.'),
      port: z.int().min(0).max(65535).default(8025).describe('0 takes a free one.'),
    })
    .prefault({})
    .describe('Where health and status are served over HTTP.'),
  tls: z
    .strictObject({ cert: z.string().describe('Path of the certificate chain.'), key: z.string().describe('Path of its private key.') })
    .nullable()
    .default(null)
    .describe('Certificate chain and key in PEM files. Without them STARTTLS is not offered and a submissions listener is refused; dev mode makes a self-signed pair.'),
  users: z
    .array(z.strictObject({
      name: z.string().min(1).describe('User name of AUTH; most often an address.'),
      passwordHash: z.string().regex(/^scrypt\$/, 'a hash made by: everpost hash-password').describe('Made by `everpost hash-password`.'),
    }))
    .default([])
    .describe('Who may submit mail.'),
  relayNetworks: z
    .array(z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()], { error: 'a network such as 127.0.0.0/8 or ::1/128' }))
    .default(['127.0.0.0/8', '::1/128'])
    .describe('Clients that may relay without AUTH on an smtp listener.'),
  localDomains: z.record(domain, localDomain).default({}).describe('Domains whose mail ends here, each with its delivery agent. Everyone may send to them.'),
  routes: z.array(route).default([]).describe('Next hops that are set by hand: the exact domain wins, then the longest `*.`, then `*`.'),
  dns: z
    .strictObject({
      servers: z
        .array(z.string().regex(/^(\d{1,3}(\.\d{1,3}){3}(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?|[0-9a-fA-F:]*:[0-9a-fA-F:]+)$/, 'an address with an optional port, such as 127.0.0.1:5353'))
        .default([])
        .describe('Addresses with optional ports, such as `127.0.0.1:5353`.'),
      timeout: duration('3s').describe('For one query to one server; each is asked twice.'),
    })
    .prefault({})
    .describe('Resolvers; none: those of the system.'),
  retry: section({
    minimalBackoffTime: duration('5m').describe('Pause after the first deferred attempt; it doubles with each further one.'),
    maximalBackoffTime: duration('4h').describe('The longest pause.'),
    maximalQueueLifetime: duration('5d').describe('How long a message is tried before it is returned.'),
    bounceQueueLifetime: duration('5d').describe('The same for messages with the null reverse-path.'),
    lifetimes: z.array(lifetime).default([]).describe('Queue lifetimes by sender; the first that fits wins over `maximalQueueLifetime`.'),
    rules: z.array(retryRule).default([]).transform((rules) => rules.map((rule, i) => ({ ...rule, name: rule.name ?? `retry.rules[${i}]` })))
      .describe('What is done with which outcome; the first rule that fits decides. After them come the built-in rules.'),
    builtInRules: z.boolean().default(true).describe('Rules for greylisting, full mailboxes, blocks, and large providers (mail/retry-rules.ts).'),
  }).describe('When deferred mail is tried again.'),
  reports: section({
    language: z.enum(Object.keys(reportTexts) as (keyof typeof reportTexts)[]).default('en').describe('Of the part that people read.'),
    texts: z.strictObject(texts).default({}).describe('Texts that replace those of the language, by name (mail/report-texts.ts): `failed`, `delayed`, `help`, `advice`, ...'),
    delayAfter: duration('4h').describe('After it the sender is told, once, that a message waits; `0s`: never.'),
    returned: z.enum(['headers', 'full']).default('headers').describe('What a failure report returns of the message when the sender has not said (RET).'),
    returnedSize: size('1MiB').describe('Of what is larger only the header fields are returned, whatever RET says.'),
    postmaster: z.string().regex(/^$|^[^\s<>@]+@[^\s<>@]+$/, 'an address such as postmaster@example.test').default('')
      .describe('Who is told when mail without a sender fails (a bounce of a bounce); empty: nobody, it stays as a dead letter.'),
  }).describe('Delivery status notifications (RFC 3461).'),
  destinations: section({
    concurrency: count(50).describe('Attempts at a time of one process to a destination that is slow (they last longer than `transfer.fastLane`) and has no limit of its own.'),
    limits: z.array(z.strictObject({
      destination: z.string().min(1).describe('As `everpost destination list` names it, or a next hop.'),
      concurrency: z.int().min(1).nullable().default(null).describe('Attempts at a time, over all workers.'),
      rate: rate.nullable().default(null).transform((text) => (text === null ? null : parseRate(text)!)).describe('Attempts in a time, over all workers: `10/s`, `100/m`, `1000/h`.'),
    })).default([]).describe('Limits of single destinations; `everpost destination limit` goes over them.'),
    providers: z.array(z.strictObject({
      name: z.string().min(1).describe('What the destination is called.'),
      hosts: z.array(z.string().min(1)).min(1).describe('MX hosts, or `*.name`.'),
    })).default([]).describe('MX hosts that are one destination, before the built-in list (mail/destination.ts) and the MX set itself.'),
    circuitFailures: count(5).describe('So many messages in a row whose attempts failed by the host open its circuit: then one attempt at a time probes it.'),
    circuitPause: duration('1m').describe('Before the first probe; it doubles with each that fails.'),
    circuitMaximalPause: duration('30m').describe('The longest.'),
    resumeOver: duration('30s').describe('What waited for a destination comes back spread over this time.'),
  }).describe('Limits and circuits of destinations: MX sets, providers, or routes set by hand.'),
  limits: section({
    messageSize: size('50MiB').describe('Largest message accepted, as SIZE says (RFC 1870).'),
    recipients: count(1000).describe('Recipients of one message.'),
    hops: count(50).describe('Received fields in a message before it counts as looping.'),
    connections: count(500).describe('Connections to one listener at a time.'),
    outbox: count(100_000).describe('Accepted messages whose workflow could not start yet; beyond it mail is deferred with 451.'),
  }).describe('Bounds of what is accepted.'),
  retention: section({
    delivered: duration('0s').describe('How long the body is kept after every recipient was delivered.'),
    failed: duration('7d').describe('How long the body is kept, for a replay, after a recipient failed.'),
  }).describe('How long bodies are kept. The record of a message stays.'),
  transfer: section({
    fastLane: duration('5s').describe('How long a first attempt may take inside the workflow task before it goes on as an activity of its own.'),
    recipients: count(100).describe('Recipients in one transaction.'),
    connectTimeout: duration('30s').describe('For one address of one host.'),
    greetingTimeout: duration('5m').describe('RFC 5321 section 4.5.3.2.1.'),
    mailTimeout: duration('5m').describe('For MAIL, EHLO and the like (section 4.5.3.2.2).'),
    rcptTimeout: duration('5m').describe('For RCPT (section 4.5.3.2.3).'),
    dataTimeout: duration('2m').describe('For the reply to DATA (section 4.5.3.2.4).'),
    blockTimeout: duration('3m').describe('For each block of the message (section 4.5.3.2.5).'),
    dotTimeout: duration('10m').describe('For the reply to the final dot (section 4.5.3.2.6).'),
  }).describe('Outbound SMTP and LMTP.'),
  worker: section({
    lease: duration('30s').describe('How long after its last sign of life a worker counts as dead, and its attempt as lost.'),
    workflowTasks: count(200).describe('Workflow tasks at a time.'),
    activities: count(200).describe('Activities at a time.'),
  }).describe('The Temporal worker.'),
  database: section({
    url: z.string().default('').describe('postgres://user:password@host:port/database. Better from the environment: DATABASE_URL.'),
    connections: count(10).describe('Connections of one process.'),
  }).describe('Postgres.'),
  temporal: section({
    address: z.string().default('').describe('host:port. From the environment: TEMPORAL_ADDRESS.'),
    namespace: z.string().default('default').describe('From the environment: TEMPORAL_NAMESPACE.'),
    taskQueue: z.string().default('everpost').describe('One for each installation that shares a namespace.'),
  }).describe('Temporal.'),
  dev: section({
    postgresPort: anyPort.describe('Port of the Postgres that dev mode runs.'),
    temporalPort: anyPort.describe('Port of the Temporal that dev mode runs.'),
    temporalUiPort: anyPort.describe("Port of Temporal's web page."),
  }).describe('Dev mode alone (`everpost dev`). 0 takes a free port at each start.'),
  log: section({
    level: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('Lines below it are left out.'),
  }).describe('The log, one JSON line each on standard output; lines for people on a terminal.'),
})

/** The settings as the program uses them: durations in milliseconds, sizes in bytes. */
export type Settings = z.output<typeof settingsSchema>
/** The settings as an operator writes them: everything may be left out. */
export type SettingsFile = z.input<typeof settingsSchema>
export type LocalDomain = Settings['localDomains'][string]
export type Listener = Settings['listeners'][number]
