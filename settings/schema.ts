// The settings: every key, its form, its default and its sentence in docs/settings.md. Nothing is read from disk here.

import { z } from 'zod'
import { canonicalDomain } from '../mail/address.ts'
import { eventKinds } from '../mail/event-kinds.ts'
import { reportTexts, reportTextsAbout } from '../mail/report-texts.ts'
import { bound, count, distinct, duration, postgresUrl, rate, section, size } from './forms.ts'
import { retry } from './retry.ts'
import { addressFamilies, domain, hostname, routes, source } from './routes.ts'
import { temporal } from './temporal.ts'

const port = z.int({ error: 'a port from 1 to 65535' }).min(1, 'a port from 1 to 65535').max(65535, 'a port from 1 to 65535')
const anyPort = z.int({ error: 'a port, or 0 for a free one' }).min(0, 'a port, or 0 for a free one').max(65535, 'a port, or 0 for a free one')
const address = z.string().min(1, 'an IP address or a host name')
const socketPath = z.string().min(1, 'the path of a Unix socket')
const mailbox = z.string().regex(/^[^\s@]+@[^\s@]+$/, 'an address, such as alice@example.test')
const network = z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()], { error: 'a network such as 127.0.0.0/8 or ::1/128' })

/** Two spellings of one domain would be one domain with two meanings. */
const namedOnce = distinct<Record<string, unknown>>('a domain', (domains) => Object.keys(domains).map((name) => [name, canonicalDomain(name)] as const))

const listener = z
  .strictObject({
    kind: z
      .enum(['smtp', 'submission', 'submissions', 'lmtp'])
      .describe('smtp: between MTAs, port 25; submission: STARTTLS and AUTH, port 587 (RFC 6409); submissions: TLS from the start and AUTH, port 465 (RFC 8314); lmtp: RFC 2033.'),
    address: address.default('127.0.0.1').describe('IP address or host name to listen on; `0.0.0.0` or `::` for all.'),
    port: anyPort.optional().describe('0 takes a free one.'),
    path: z.string().min(1).optional().describe('A Unix socket instead of address and port. Its clients count as 127.0.0.1.'),
    proxyProtocol: z.boolean().default(false).describe('Connections from `trustedProxies` begin with a PROXY header, version 1 or 2.'),
  })
  .refine((listener) => (listener.port === undefined) !== (listener.path === undefined), { error: 'a port, or the path of a Unix socket', path: ['port'] })
  .describe('One listening socket.')

const whoIsThere = {
  recipients: z
    .array(z.string().min(1))
    .optional()
    .describe('Local parts that exist; others are refused with 550 5.1.1. Left out: every local part is taken. `postmaster` and `abuse` are always taken.'),
  catchAll: mailbox.optional().describe('Address that gets the mail for unknown local parts: those that are not in `recipients`, or that a `callout` does not find. '
    + 'Without either nothing is unknown, so it does nothing.'),
}

const localDomain = z.discriminatedUnion('deliver', [
  z.strictObject({
    deliver: z.literal('maildir'),
    path: z.string().min(1, 'a folder; {localpart} and {domain} stand for the recipient').describe('A folder; `{localpart}` and `{domain}` stand for the recipient. '
      + 'It is made with mode 0700, and belongs to the user that Everpost runs as.'),
    ...whoIsThere,
  }),
  z.strictObject({
    deliver: z.literal('lmtp'),
    host: address.optional().describe('IP address or host name of the LMTP server. STARTTLS is used where the server offers it.'),
    port: port.optional().describe('Its port; LMTP has none of its own.'),
    path: socketPath.optional().describe('Its Unix socket, instead of host and port. The user that Everpost runs as must be allowed to write to it.'),
    returnPath: z.boolean().default(false).describe('Whether we put Return-Path first; false leaves it to the LMTP server, as Dovecot and Cyrus expect.'),
    callout: z.boolean().default(false).describe('Ask the LMTP server at RCPT whether it knows the recipient; if not, use `catchAll`, or refuse. '
      + 'A yes or a no is kept for ten minutes. A server that cannot be asked: 451.'),
    ...whoIsThere,
  }).refine(({ host, port, path }) => (path === undefined ? host !== undefined && port !== undefined : host === undefined && port === undefined), {
    error: 'host and port, or the path of a Unix socket', path: ['host'],
  }),
  z.strictObject({
    deliver: z.literal('pipe'),
    command: z
      .array(z.string())
      .min(1, 'the program and its arguments, as a list; {localpart}, {domain} and {sender} stand for the envelope')
      .describe('Program and arguments, run without a shell, as the user that Everpost runs as; `{localpart}`, `{domain}` and `{sender}` stand for the envelope. '
        + 'The message comes on standard input, Return-Path first, lines ending in LF. '
        + 'Environment: PATH, SENDER, RECIPIENT, LOCAL, EXTENSION, DOMAIN. Exit codes as in sysexits.h: 0 is delivered, 64 to 70, 73 and 76 to 78 bounce, all others defer.'),
    timeout: duration('10m').describe('After it the program is killed and the message deferred.'),
    ...whoIsThere,
  }),
], { error: ({ code }) => (code === 'invalid_union' ? 'maildir, lmtp, pipe' : undefined) })

/** Each text of a report may be replaced. */
const { advice, ...plainTexts } = reportTextsAbout
const texts = {
  ...(Object.fromEntries(Object.entries(plainTexts).map(([name, about]) => [name, z.string().optional().describe(about)])) as Record<keyof typeof plainTexts, z.ZodOptional<z.ZodString>>),
  advice: z.record(z.string(), z.string()).optional().describe(advice),
}

const webhook = z.strictObject({
  name: z.string().regex(/^[\w.-]{1,60}$/, 'at most 60 letters, digits, and . _ -').describe('Names it in listings; with another name it is another webhook.'),
  url: z.url({ protocol: /^https?$/, error: 'an http or https URL' }).describe('Where events are posted, as JSON.'),
  secret: z.string().min(16, 'at least 16 characters').describe('Key of the signature (HMAC-SHA256, Standard Webhooks v1); after `whsec_` it is base64.'),
  events: z
    .array(z.enum(eventKinds))
    .min(1, 'at least one event; leave the list out to mean all')
    .optional()
    .describe('Which events; all when left out.'),
  minimalBackoffTime: duration('5s').describe('Pause after the first failure; it doubles with each further one.'),
  maximalBackoffTime: duration('15m').describe('The longest pause.'),
  lifetime: duration('3d').describe('How long an event is tried before it is given up, with all that are as old, and shown by `everpost webhooks --dead`.'),
})

export const settingsSchema = z.strictObject({
  hostname: hostname
    .default('mx.example.test')
    .describe('The name of this MTA: in the greeting, EHLO, Received and DSNs. The same on every process of one installation.'),
  state: z.string().default('./var').describe('Folder of dev mode: its databases, its sink, its certificate. The other roles keep nothing there.'),
  listeners: z
    .array(listener)
    .superRefine(distinct('a port or a path', (listeners) => listeners.flatMap(({ address, port, path }, i) => (port === 0 ? [] : [[i, path ?? `${address}:${port}`]]))))
    .default([
      { kind: 'smtp', address: '127.0.0.1', port: 2525, proxyProtocol: false },
      { kind: 'submission', address: '127.0.0.1', port: 2587, proxyProtocol: false },
      { kind: 'submissions', address: '127.0.0.1', port: 2465, proxyProtocol: false },
    ])
    .describe('Where mail is accepted.'),
  http: z
    .strictObject({
      address: address.default('127.0.0.1').describe('IP address to listen on.'),
      port: anyPort.default(8025).describe('0 takes a free one.'),
      metrics: z.enum(['token', 'open']).default('token').describe('Who may read `/metrics` (Prometheus): whoever has a token with the scope metrics, or everyone.'),
    })
    .prefault({})
    .describe('Where health, metrics and the API are served over HTTP.'),
  tls: z
    .strictObject({
      cert: z.string().describe('Path of the certificate chain.'),
      key: z.string().describe('Path of its private key.'),
      names: z
        .record(domain, z.strictObject({ cert: z.string(), key: z.string() }))
        .optional()
        .describe('Other certificates, by the name that a client asks for (SNI): `{ mail.example.test: { cert: ..., key: ... } }`.'),
    })
    .nullable()
    .default(null)
    .describe('Certificate chain and key in PEM files. Without them STARTTLS is not offered and a submissions listener is refused; dev mode makes a self-signed pair. '
      + 'Changed files are read again within a minute, or at SIGHUP; connections stay.'),
  users: z
    .array(z.strictObject({
      name: z.string().min(1).describe('User name of AUTH; most often an address.'),
      passwordHash: z.string().regex(/^scrypt\$/, 'a hash made by: everpost hash-password').describe('Made by `everpost hash-password`.'),
      addresses: z.array(z.string().regex(/^[^\s@]*@[^\s@]+$/, 'an address, or @example.test for a whole domain')).default([])
        .describe('Reverse-paths that are theirs besides their name: addresses, or `@example.test` for a whole domain.'),
    }))
    .default([])
    .describe('Who may submit mail; more are kept in Postgres, see `everpost user`.'),
  submission: section({
    anySender: z.boolean().default(false).describe('Let users send with any reverse-path, not with their own only.'),
    clearTextAuth: z.boolean().default(false).describe('Offer AUTH without TLS. Passwords then cross the network for all to read.'),
    futureRelease: duration('30d').describe('How far ahead a user may put off the delivery (FUTURERELEASE, RFC 4865); `0s`: not at all.'),
  }).describe('What holds on submission listeners.'),
  relayNetworks: z
    .array(network)
    .default(['127.0.0.0/8', '::1/128'])
    .describe('Clients that may relay without AUTH on an smtp or lmtp listener. The limits by client do not apply to them.'),
  trustedProxies: z
    .array(network)
    .default([])
    .describe('Whose word on the real client is taken: by a PROXY header where a listener has `proxyProtocol`, and by XCLIENT, whose LOGIN is a user and needs no password.'),
  localDomains: z.record(domain, localDomain).superRefine(namedOnce).prefault({}).describe('Domains whose mail ends here, each with its delivery agent. Everyone may send to them.'),
  relayDomains: z
    .record(domain, z.strictObject({
      recipients: z.array(mailbox).optional().describe('Addresses that there are; others are refused with 550 5.1.1. Left out: every one is taken.'),
    }))
    .superRefine(namedOnce)
    .default({})
    .describe('Domains that we relay for, as their MX: everyone may send to them, and they go on to their next hop.'),
  aliases: z
    .record(mailbox, z.union([mailbox, z.array(mailbox).min(1)], { error: 'an address or a list of addresses; programs and files are not possible' }))
    .default({})
    .describe('Addresses of local domains that stand for others, one or many, here or elsewhere: `{ info@example.test: [alice@example.test, bob@partner.test] }`.'),
  postmaster: mailbox
    .optional()
    .describe('Who gets the mail for `postmaster` and `abuse` that `recipients` do not name or a `callout` does not find, and for `<postmaster>` where no domain is local.'),
  subaddressDelimiter: z
    .string()
    .max(1, 'one character, or none')
    .default('+')
    .describe('Separates the user from a tag in a local part: `alice+news` is delivered as `alice` by Maildir and pipe; an LMTP server gets the whole. Empty: there are no tags.'),
  routes: routes.prefault([]).describe('Next hops that are set by hand: the exact domain wins, then the longest `*.`, then `*`.'),
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
  retry,
  reports: section({
    language: z.enum(Object.keys(reportTexts) as (keyof typeof reportTexts)[]).default('en').describe('Of the part that people read.'),
    texts: z.strictObject(texts).default({}).describe('Texts that replace those of the language, by name; `{id}` and the like stand for values. mail/report-texts.ts has them as they are.'),
    delayAfter: duration('4h').describe('After it the sender is told, once, that a message waits; `0s`: never.'),
    returned: z.enum(['headers', 'full']).default('headers').describe('What a failure report returns of the message when the sender has not said (RET).'),
    returnedSize: size('1MiB').describe('Of what is larger only the header fields are returned, whatever RET says.'),
    verp: section({
      delimiters: z.string().regex(/^[-+=]{2}$/, 'two of - + =').default('+=')
        .describe('Before the recipient and in place of its `@`: `owner+user=partner.test@lists.test`. A client may ask for others: `XVERP=-=`.'),
      senders: z.array(z.string().min(1)).default([])
        .describe('Reverse-paths whose recipients always get one of their own: addresses, domains, `*.domain`. Others ask for it with XVERP, from `relayNetworks` or after AUTH.'),
    }).describe('A reverse-path for each recipient (VERP), each in a transaction of its own.'),
    postmaster: z.string().regex(/^$|^[^\s<>@]+@[^\s<>@]+$/, 'an address such as postmaster@example.test').default('')
      .describe('Who is told when mail without a sender fails (a bounce of a bounce); empty: nobody, it stays as a dead letter.'),
  }).describe('Delivery status notifications (RFC 3461).'),
  destinations: section({
    concurrency: count(50).describe('Attempts at a time of one process to a destination that is slow (they last longer than `transfer.fastLane`) and has no limit of its own.'
      + ' All such destinations together may have half of `worker.activities`.'),
    limits: z.array(z.strictObject({
      destination: z.string().min(1).describe('As `everpost destination list` names it, or a next hop.'),
      concurrency: z.int().min(1).nullable().default(null).describe('Attempts at a time, over all workers.'),
      rate: rate.describe('Attempts in a time, over all workers: `10/s`, `100/m`, `1000/h`.'),
    })).prefault([]).describe('Limits of single destinations; `everpost destination limit` goes over them.'),
    providers: z.array(z.strictObject({
      name: z.string().min(1).describe('What the destination is called.'),
      hosts: z.array(z.string().min(1)).min(1).describe('MX hosts, or `*.name`.'),
    })).default([]).describe('MX hosts that are one destination, before the built-in list (mail/destination.ts) and the MX set itself.'),
    circuitFailures: count(5).describe('So many messages in a row whose attempts failed by the host open its circuit: then one attempt at a time probes it.'),
    circuitPause: duration('1m').describe('Before the first probe; it doubles with each that fails.'),
    circuitMaximalPause: duration('30m').describe('The longest.'),
    resumeOver: duration('30s').describe('What waited for a destination comes back spread over this time; '
      + 'after a suspension that ends by itself no faster than 20 messages a second for each worker.'),
  }).describe('Limits and circuits of destinations: MX sets, providers, or routes set by hand.'),
  limits: section({
    messageSize: size('50MiB').describe('Largest message accepted, as SIZE says (RFC 1870).'),
    recipients: count(1000).describe('Recipients of one message.'),
    hops: count(50).describe('Received fields in a message before it counts as looping.'),
    lineLength: bound(0).describe('Octets of the longest line taken, without CRLF: 998 refuses what RFC 5321 does not promise to carry. 0: any; no line is ever split.'),
    connections: count(500).describe('Connections to one listener of one process at a time.'),
    clientConnections: bound(50).describe('Connections of one client address (of IPv6 one /64) at a time, outside `relayNetworks`. '
      + '0: no bound. This and the next four are counted by each process for itself.'),
    clientMessages: bound(600).describe('Messages of one client address in a minute, without AUTH and outside `relayNetworks`. 0: no bound.'),
    clientRecipients: bound(6000).describe('Recipients of one client address in a minute, without AUTH and outside `relayNetworks`. 0: no bound.'),
    userMessages: bound(100).describe('Messages of one user in a minute, by SMTP. 0: no bound.'),
    userRecipients: bound(1000).describe('Recipients of one user in a minute, by SMTP. 0: no bound.'),
    errors: count(20).describe('Commands refused with 5xx in one connection, without a message accepted, before we hang up.'),
    authFailures: count(5).describe('Failed AUTH commands in one connection before we hang up. Each further one from an address, in ten minutes, is answered later, up to 10 s.'),
    commandLength: count(4096).describe('Octets of a command line. AUTH may always take the 12288 of RFC 4954.'),
    dataTime: duration('30m').describe('For the whole of a message, from DATA to its dot.'),
    idleTime: duration('5m').describe('How long a client may stay silent (RFC 5321 section 4.5.3.2.7).'),
    outbox: count(100_000).describe('Accepted messages whose workflow could not start yet; beyond it mail is deferred with 451.'),
  }).describe('Bounds of what is accepted. Those by client and by user are counted in the memory of each process: with N that take mail, a client that goes to'
    + ' all of them may do N times as much. `outbox` is counted over all.'),
  retention: section({
    delivered: duration('0s').describe('How long the body is kept after every recipient was delivered.'),
    failed: duration('7d').describe('How long the body is kept, for a replay, after a recipient failed.'),
    events: duration('1d').describe('How long events are kept for streams that come back; those that a webhook still waits for, or that are dead letters, are kept anyway.'),
    deadEvents: duration('30d').describe('How long an event that a webhook did not take in its `lifetime` is kept as a dead letter.'),
  }).describe('How long bodies and events are kept. The record of a message stays.'),
  webhooks: z
    .array(webhook)
    .refine((webhooks) => new Set(webhooks.map(({ name }) => name)).size === webhooks.length, { error: 'each webhook has a name of its own' })
    .prefault([])
    .describe('Who is told by HTTP what happens to messages. The same on every worker of one installation. Without a webhook and without an open stream no event is written.'),
  transfer: section({
    source: source.prefault({}).describe('The addresses of this machine that mail is sent from by SMTP; what is left out is for its routing to choose.'),
    addressFamilies: addressFamilies.default(['ipv4', 'ipv6']).describe('Which addresses of a host are tried, and which first: `[ipv4]` where the machine has no IPv6, `[ipv6, ipv4]` to prefer it. '
      + 'A host that has no other addresses than those left out defers mail.'),
    fastLane: duration('5s').describe('How long a first attempt may take inside the workflow task before it goes on as an activity of its own.'),
    recipients: count(100).describe('Recipients in one transaction.'),
    idleTime: duration('5s').describe('How long a connection waits for the next message to the same host; 0s: it is closed after each.'),
    connectionAge: duration('5m').describe('How long a connection may take new messages.'),
    connectionMessages: count(100).describe('Messages on one connection; a host may state less (LIMITS, RFC 9422).'),
    idleConnections: count(100).describe('Connections of one process that wait at a time.'),
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
    url: postgresUrl.default('').describe('postgres://user:password@host:port/database; `?sslmode=verify-full` asks for TLS. Better from the environment: DATABASE_URL.'),
    connections: count(10).describe('Connections of one process for mail. '
      + 'Beside them it has up to seven for HTTP, three that accept where mail comes in, and one that listens where a worker runs.'),
  }).describe('Postgres.'),
  temporal,
  dev: section({
    postgresPort: anyPort.default(0).describe('Port of the Postgres that dev mode runs.'),
    temporalPort: anyPort.default(0).describe('Port of the Temporal that dev mode runs.'),
    temporalUiPort: anyPort.default(0).describe("Port of Temporal's web page."),
    temporalInMemory: z.boolean().default(false).describe('Temporal keeps nothing on disk: faster, and after a restart the queue is driven anew from Postgres; its histories are gone.'),
  }).describe('Dev mode alone (`everpost dev`). 0 takes a free port at each start. '
    + 'Dev mode also has defaults of its own, which `everpost config` shows while it runs: a user, a local domain, short pauses between attempts.'),
  log: section({
    level: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('Lines below it are left out.'),
  }).describe('The log, on standard output: one JSON object a line; on a terminal, lines for people.'),
})

/** The settings as the program uses them: durations in milliseconds, sizes in bytes. */
export type Settings = z.output<typeof settingsSchema>
/** The settings as an operator writes them: everything may be left out. */
export type SettingsFile = z.input<typeof settingsSchema>
export type LocalDomain = Settings['localDomains'][string]
export type Listener = Settings['listeners'][number]
