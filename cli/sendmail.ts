// everpost sendmail: the program that cron, PHP, git and many others hand their mail to. It speaks SMTP with a listener of this
// machine, and says by its exit code (sysexits.h) what became of the message: 0 means that it is safely queued.

import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { userInfo } from 'node:os'
import { buffer } from 'node:stream/consumers'
import { createTransport } from 'nodemailer'
import { sysexits } from '../mail/sysexits.ts'
import type { Listener } from '../settings/schema.ts'
import { loadContext } from './context.ts'
import { CommandError } from './errors.ts'
import { parseSendmailArguments } from './sendmail-arguments.ts'
import { prepareMessage } from './sendmail-message.ts'

export async function sendmail(file: string | undefined, words: string[]): Promise<void> {
  const options = parseSendmailArguments(words)
  const { settings, listeners } = loadContext(file)
  if (options.smtpOnStandardIo) return await passThrough(listeners)
  const domain = Object.keys(settings.localDomains)[0] ?? settings.hostname
  const sender = options.from ?? userInfo().username
  const from = sender === '' || sender.includes('@') ? sender : `${sender}@${domain}`
  const context = { ...options, from, domain, hostname: settings.hostname, id: randomUUID(), now: new Date() }
  const message = prepareMessage(await buffer(process.stdin), context)
  if (message.recipients.length === 0) throw new CommandError('nobody to send to. Name recipients, or give -t and a To field.', sysexits.usage)
  // Mail of this machine's own programs needs no AUTH: see relayNetworks.
  const transport = createTransport({ connection: await open(listeners), ignoreTLS: true, name: settings.hostname })
  try {
    const notify = options.notify ? { dsn: { notify: options.notify } } : {}
    const sent = await transport.sendMail({ envelope: { from, to: message.recipients }, raw: message.octets, ...notify } as never)
    if (sent.rejected.length > 0) throw new CommandError(`refused: ${sent.rejectedErrors?.map((error) => error.message).join('; ')}`, sysexits.noUser)
  } catch (error) {
    if (error instanceof CommandError) throw error
    const { responseCode, response, message } = error as Error & { responseCode?: number; response?: string }
    if (responseCode !== undefined && responseCode >= 500) throw new CommandError(`refused: ${response}`, sysexits.dataErr)
    throw new CommandError(`not queued, try again later: ${response ?? message}`, sysexits.tempFail)
  } finally {
    transport.close()
  }
}

/** -bs: the caller speaks SMTP itself, on standard input and output. */
async function passThrough(listeners: Listener[]): Promise<void> {
  const socket = await open(listeners)
  process.stdin.pipe(socket)
  socket.pipe(process.stdout)
  await once(socket, 'close')
  // Standard input may still be open when the server has said goodbye.
  process.stdin.destroy()
}

/** A connection to the first smtp listener of the settings. */
async function open(listeners: Listener[]): Promise<Socket> {
  const listener = listeners.find(({ kind, proxyProtocol }) => kind === 'smtp' && !proxyProtocol)
  if (!listener) throw new CommandError('the settings have no smtp listener for local mail to go to', sysexits.config)
  const { address, port, path } = listener
  const host = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
  const socket = path === undefined ? connect(port!, host) : connect(path)
  await once(socket, 'connect').catch((error: Error) => {
    throw new CommandError(`not queued, try again later: no listener answers (${error.message})`, sysexits.tempFail)
  })
  return socket
}
