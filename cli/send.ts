// everpost send: submits a message with AUTH over TLS, as any mail client does.

import { readFileSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'
import { createTransport } from 'nodemailer'
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

export async function send(file: string | undefined, options: Options): Promise<void> {
  const context = loadContext(file)
  const { host, port } = serverOf(context, options)
  const user = options.user ?? context.dev?.login?.user
  const pass = options.password ?? process.env['EVERPOST_PASSWORD'] ?? (options.user ? undefined : context.dev?.login?.password)
  if (!user || !pass) throw new CommandError('submission needs a user: give --user, and the password in EVERPOST_PASSWORD', 64)
  const transport = createTransport({
    host,
    port,
    secure: options.implicitTls ?? false,
    requireTLS: true,
    auth: { user, pass },
    tls: { rejectUnauthorized: !options.insecure, ...(context.dev ? { ca: readFileSync(context.dev.certificate) } : {}) },
  })
  const from = options.from ?? user
  const raw = options.file === undefined ? undefined : options.file === '-' ? await buffer(process.stdin) : readFileSync(options.file)
  try {
    const message = raw ? { raw } : { from, to: options.to, subject: options.subject, text: options.text }
    const sent = await transport.sendMail({ ...message, envelope: { from, to: options.to } })
    console.log(sent.response)
    for (const refused of sent.rejectedErrors ?? []) console.error(`refused: ${refused.message}`)
    if (sent.rejected.length > 0) process.exitCode = 1
  } catch (error) {
    throw new CommandError(explain(error as Error & { code?: string; response?: string }, host, port), 69)
  } finally {
    transport.close()
  }
}

function serverOf({ listeners }: CommandContext, options: Options): { host: string; port: number } {
  if (options.server !== undefined) {
    const match = /^\[?([^\]]+?)\]?:(\d+)$/.exec(options.server)
    if (!match) throw new CommandError(`--server ${options.server}: write host:port`, 64)
    return { host: match[1]!, port: Number(match[2]) }
  }
  const kind = options.implicitTls ? 'submissions' : 'submission'
  const listener = listeners.find((listener) => listener.kind === kind)
  if (!listener) throw new CommandError(`the settings have no ${kind} listener. Give --server host:port.`, 64)
  return { host: listener.address, port: listener.port ?? 0 }
}

function explain(error: Error & { code?: string; response?: string }, host: string, port: number): string {
  if (error.response) return `the server refused: ${error.response}`
  if (/ECONNREFUSED/.test(error.message)) return `nothing listens on ${host}:${port}. Start it with: npm start`
  if (/certificate|self.signed/i.test(error.message)) return `${error.message}. --insecure accepts any certificate.`
  return error.message
}
