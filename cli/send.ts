// everpost send: submits a message with AUTH over TLS, as any mail client does.

import { readFileSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'
import { createTransport } from 'nodemailer'
import { parsePath } from '../mail/address.ts'
import { sysexits } from '../mail/sysexits.ts'
import { type CommandContext, loadContext } from './context.ts'
import { CommandError } from './errors.ts'

interface Options {
  to: string[]
  from?: string
  subject: string
  text: string
  file?: string
  server?: string
  user?: string
  password?: string
  implicitTls?: boolean
  insecure?: boolean
}

/** Milliseconds: one who waits at a terminal is told sooner than the 5 minutes of RFC 5321 that nothing comes. */
const greetingTimeout = 10_000

export async function send(file: string | undefined, options: Options): Promise<void> {
  const context = loadContext(file)
  const { host, port } = serverOf(context, options)
  const user = options.user ?? context.dev?.login?.user
  const pass = options.password ?? process.env['EVERPOST_PASSWORD'] ?? (options.user ? undefined : context.dev?.login?.password)
  if (!user || !pass) {
    const dev = context.dev || options.server !== undefined ? '' : '. Dev mode brings one of its own; it does not run here. Start it with: npm start'
    throw new CommandError(`submission needs a user: give --user, and the password in EVERPOST_PASSWORD${dev}`, sysexits.usage)
  }
  if (options.from === undefined && !user.includes('@')) throw new CommandError(`the user ${user} is no address: give --from`, sysexits.usage)
  const from = addressOf('--from', options.from ?? user, options.file !== undefined)
  const to = options.to.map((each) => addressOf('--to', each))
  const raw = options.file === undefined ? undefined : await read(options.file)
  const transport = createTransport({
    host,
    port,
    secure: options.implicitTls ?? false,
    requireTLS: true,
    greetingTimeout,
    auth: { user, pass },
    tls: { rejectUnauthorized: !options.insecure, ...(context.dev ? { ca: readFileSync(context.dev.certificate) } : {}) },
  })
  try {
    const message = raw ? { raw } : { from, to, subject: options.subject, text: options.text }
    const sent = await transport.sendMail({ ...message, envelope: { from, to } })
    console.log(sent.response)
    for (const refused of sent.rejectedErrors ?? []) console.error(`refused: ${refused.message}`)
    if (sent.rejected.length > 0) process.exitCode = 1
  } catch (error) {
    const refusal = error as Refusal
    throw new CommandError(explain(refusal, `${host}:${port}`, options), exitCodeOf(refusal))
  } finally {
    transport.close()
  }
}

/** An address alone, as it goes into the envelope; `<>`, the null reverse-path, only where a file brings its own From field. */
function addressOf(option: string, text: string, orNone = false): string {
  if (orNone && text === '<>') return ''
  const path = parsePath(`<${text}>`)
  if ('problem' in path) throw new CommandError(`${option} ${text}: ${path.problem.toLowerCase()}. Write it alone, such as alice@example.test.`, sysexits.usage)
  if (path.rest !== '' || path.address === '') throw new CommandError(`${option} ${text}: write an address alone, such as alice@example.test`, sysexits.usage)
  return path.address
}

async function read(file: string): Promise<Buffer> {
  if (file === '-') return await buffer(process.stdin)
  try {
    return readFileSync(file)
  } catch (error) {
    throw new CommandError(`--file ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`, sysexits.noInput)
  }
}

function serverOf({ listeners }: CommandContext, options: Options): { host: string; port: number } {
  if (options.server !== undefined) {
    const match = /^\[?([^\]]+?)\]?:(\d+)$/.exec(options.server)
    if (!match) throw new CommandError(`--server ${options.server}: write host:port`, sysexits.usage)
    return { host: match[1]!, port: Number(match[2]) }
  }
  const kind = options.implicitTls ? 'submissions' : 'submission'
  const listener = listeners.find((listener) => listener.kind === kind)
  if (!listener) throw new CommandError(`the settings have no ${kind} listener. Give --server host:port.`, sysexits.usage)
  return { host: listener.address, port: listener.port ?? 0 }
}

type Refusal = Error & { response?: string; responseCode?: number }

function explain({ message, response }: Refusal, where: string, { server, implicitTls }: Options): string {
  if (response) return `the server refused: ${response}`
  if (/ECONNREFUSED/.test(message)) return `nothing listens on ${where}.${server === undefined ? ' Start it with: npm start' : ''}`
  if (/certificate|self.signed/i.test(message)) return `${message}. --insecure accepts any certificate.`
  if (implicitTls && /SSL routines|wrong version number/i.test(message)) return `${where} does not speak TLS from the start. Try without --implicit-tls.`
  if (!implicitTls && /greeting/i.test(message)) return `${where} does not greet. Where TLS is spoken from the start, as on port 465, try --implicit-tls.`
  return message
}

/** A 5xx will not be otherwise the next time (EX_DATAERR, or EX_NOPERM for what AUTH refused); the rest may be (EX_UNAVAILABLE). */
function exitCodeOf({ responseCode = 0 }: Refusal): number {
  if (responseCode >= 530 && responseCode <= 538) return sysexits.noPerm
  return responseCode >= 500 ? sysexits.dataErr : sysexits.unavailable
}
