// For tests: an inbound edge on a database of its own, and conversations with it written as dialogues, in the clear or under TLS.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectSocket, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { ensureCertificate } from '../dev/certificate.ts'
import { type SettingsFile, settingsSchema } from '../settings/schema.ts'
import { readBody } from '../store/bodies.ts'
import type { Sql } from '../store/database.ts'
import { readMessage } from '../store/messages.ts'
import { readRecipients } from '../store/recipients.ts'
import { testDatabase } from '../test/support/database.ts'
import { type Aliases, keepAliases } from './aliases.ts'
import { type Ingress, startIngress } from './server.ts'

/** For an edge without aliases. */
export const noAliases: Aliases = { get: () => undefined, complete: () => true, stop: async () => {} }

export interface TestIngress {
  sql: Sql
  ingress: Ingress
  folder: string
  /** Of a kind of listener; the path when it is a Unix socket. */
  port(kind: string): number | string
  /** The message, its recipients and its octets (as latin1), by the reply that names its queue id. */
  stored(reply: string): Promise<{ message: NonNullable<Awaited<ReturnType<typeof readMessage>>>; recipients: Awaited<ReturnType<typeof readRecipients>>; body: string }>
  /** How many messages there are. */
  count(): Promise<number>
  end(): Promise<void>
}

/** With a certificate, and listeners for smtp, submission, submissions and lmtp on free ports, unless the settings name others. */
export async function testIngress(written: SettingsFile = {}): Promise<TestIngress> {
  const { sql, drop } = await testDatabase()
  const folder = mkdtempSync(join(tmpdir(), 'everpost-ingress-'))
  const settings = settingsSchema.parse({
    tls: await ensureCertificate(folder, 'mx.example.test'),
    listeners: (['smtp', 'submission', 'submissions', 'lmtp'] as const).map((kind) => ({ kind, address: '127.0.0.1', port: 0 })),
    relayNetworks: ['10.0.0.0/8'],
    localDomains: { 'example.test': { deliver: 'maildir', path: '/nowhere/{localpart}' } },
    ...written,
  })
  const log = pino({ level: 'silent' })
  const aliases = await keepAliases(settings, sql, log)
  const ingress = await startIngress({
    settings, sql, aliases, log, startMessage: async () => {}, dns: { reverse: async (address) => (address === '192.0.2.70' ? 'seventy.test' : null) },
    outbox: { full: () => false, accepted: () => {}, stop: async () => {} },
  })
  return {
    sql, ingress, folder,
    port(kind) {
      const found = ingress.addresses.find((address) => address.kind === kind)!
      return found.port || found.address
    },
    async stored(reply) {
      const id = /^250 2\.0\.0 Ok: queued as (\w{18})$/m.exec(reply)?.[1] ?? assert.fail(`no queue id in ${reply}`)
      const message = (await readMessage(sql, id))!
      let body = ''
      for await (const chunk of readBody(sql, id, message.size)) body += Buffer.from(chunk).toString('latin1')
      return { message, recipients: await readRecipients(sql, id, 10_000), body }
    },
    async count() {
      return (await sql<{ count: number }[]>`select count(*) from messages`)[0]!.count
    },
    async end() {
      await ingress.stop()
      await aliases.stop()
      await drop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export interface TestClient {
  socket: Socket
  /** Sends octets as they are: latin1 stands for octets. */
  send(text: string): void
  /** The next reply, its lines joined by "\n"; "closed" when the server has hung up. */
  reply(): Promise<string>
  startTls(servername?: string): Promise<TLSSocket>
  close(): void
}

/** Connects, and says nothing. `tls`: from the start. */
export function openClient(port: number | string, options: { tls?: boolean; servername?: string; localAddress?: string } = {}): TestClient {
  const plain = typeof port === 'string' ? connectSocket(port) : connectSocket({ port, host: '127.0.0.1', ...(options.localAddress ? { localAddress: options.localAddress } : {}) })
  let text = ''
  let ended = false
  const listen = (socket: Socket) => socket.on('data', (chunk: Buffer) => { text += chunk.toString('latin1') }).on('close', () => { ended = true }).on('error', () => {})
  const secured = (servername: string) => connectTls({ socket: plain, rejectUnauthorized: false, servername })
  const client: TestClient = {
    socket: listen(options.tls ? secured(options.servername ?? '') : plain.setNoDelay()),
    send(line) {
      client.socket.write(Buffer.from(line, 'latin1'))
    },
    async reply() {
      for (let waited = 0; waited < 15_000; waited += 2) {
        const match = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(text)
        if (match) {
          text = text.slice(match[0].length)
          return match[0].replace(/\r\n$/, '').replaceAll('\r\n', '\n')
        }
        if (ended) return 'closed'
        await sleep(2)
      }
      return assert.fail(`no reply within 15 s; so far: ${JSON.stringify(text)}`)
    },
    async startTls(servername = '') {
      plain.removeAllListeners('data').removeAllListeners('close')
      const socket = secured(servername)
      await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
      client.socket = listen(socket)
      return socket
    },
    close() {
      client.socket.destroy()
    },
  }
  return client
}

/**
 * Plays a conversation after the greeting. `> line` is sent with CRLF, several in a row in one segment; `>> text` is sent as it
 * is, with \r, \n and \0 written out; `< 250 2.1.0` must begin the last line of the next reply, after `<- ` each of its lines is
 * looked for; `< closed`: the server hangs up. Returns every reply. `tls`: STARTTLS comes first.
 */
export async function dialogue(port: number | string, script: string, tls = false): Promise<string[]> {
  const client = openClient(port)
  const replies: string[] = []
  try {
    assert.match(await client.reply(), /^220 /)
    if (tls) {
      client.send('EHLO c.test\r\n')
      assert.match(await client.reply(), /STARTTLS/)
      client.send('STARTTLS\r\n')
      assert.match(await client.reply(), /^220 2\.0\.0 /)
      await client.startTls()
    }
    let pending = ''
    for (const line of script.split('\n').map((each) => each.trim()).filter((each) => each !== '')) {
      const text = line.replace(/^(>>?|<-?) ?/, '')
      if (line.startsWith('>>')) pending += text.replace(/\\([rn0])/g, (_, letter: 'r' | 'n' | '0') => ({ r: '\r', n: '\n', 0: '\0' })[letter])
      else if (line.startsWith('>')) pending += `${text}\r\n`
      else {
        if (pending !== '') client.send(pending)
        pending = ''
        const reply = await client.reply()
        replies.push(reply)
        const at = `in ${JSON.stringify(script)}`
        if (line.startsWith('<-')) assert.ok(reply.includes(text), `expected ${text}, got ${reply} ${at}`)
        else assert.ok(reply.split('\n').at(-1)!.startsWith(text), `expected ${text}, got ${reply} ${at}`)
      }
    }
    return replies
  } finally {
    client.close()
  }
}
