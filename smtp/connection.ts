// One connection to a mail host: octets out with backpressure, replies in, time limits, STARTTLS. Knows no commands.

import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { checkServerIdentity, connect as connectTls, type TLSSocket } from 'node:tls'
import type { Tls } from '../mail/envelope.ts'
import type { Reply } from '../mail/reply.ts'
import { isSocketPath } from '../mail/route.ts'
import { createReplyReader } from './replies.ts'
import { noSource } from './source.ts'
import type { HostTls } from './tls.ts'

/** The connection is of no more use: refused, lost, out of time, or not SMTP. Never leaves smtp/. */
export class ConnectionLost extends Error {}

/** The same, because it cannot be made from the address of ours that it was to be made from: no fault of the peer. */
export class SourceUnusable extends ConnectionLost {}

/** The same, because the peer's certificate is not one that the policy accepts. */
export class CertificateRefused extends ConnectionLost {}

export interface Connection {
  tls: Tls | null
  /** Writes; resolves when there is room for more, at once when a reply has come meanwhile. `limit` in milliseconds. */
  write(data: string | Uint8Array, limit: number): Promise<void>
  /** The next reply. What came whole before the connection was lost is still handed out. */
  reply(limit: number): Promise<Reply>
  /** Whether a reply waits to be read. */
  hasReply(): boolean
  /** Whether it stands, and in step: nothing lost, nothing said that nobody asked for. */
  isQuiet(): boolean
  /** Throws ConnectionLost when it does not stand any more. */
  check(): void
  /** Shakes hands; with level `verify` rejects with CertificateRefused unless chain and name of the certificate are good. */
  startTls(host: string, tls: HostTls, limit: number): Promise<void>
  /** Breaks the connection off; whoever waits on it gets ConnectionLost with this reason. */
  abort(reason: string): void
  close(): void
}

const socketProblems: Record<string, string> = {
  ENOENT: 'there is no such socket', EACCES: 'the user that Everpost runs as may not write to this socket', ECONNREFUSED: 'no server listens on this socket',
}

/** Connects to an address, or to the path of a Unix socket; from `source` where it is given. Rejects with ConnectionLost. */
export async function openConnection(address: string, port: number, limit: number, source?: string): Promise<Connection> {
  const overSocket = isSocketPath(address)
  let socket: Socket | TLSSocket = connectTcp(overSocket ? { path: address } : { host: address, port, noDelay: true, ...(source ? { localAddress: source } : {}) })
  const replies: Reply[] = []
  const newReader = () => createReplyReader((reply) => replies.push(reply))
  let reader = newReader()
  let lost: ConnectionLost | null = null
  let stir: (() => void) | null = null // whoever waits for anything is woken, and looks

  function fail(reason: string): void {
    lost ??= new ConnectionLost(reason)
    socket.destroy()
    stir?.()
  }

  function listen(on: Socket): void {
    on.on('data', (octets: Uint8Array) => {
      try {
        reader.feed(octets)
        // Nobody answers a question a hundred times: a peer that talks on and on is not listening.
        if (replies.length > 1000) fail('replies without end')
      } catch (error) {
        fail((error as Error).message)
      }
      stir?.()
    })
    on.on('drain', () => stir?.())
    on.on('end', () => fail('closed by the peer'))
    on.on('error', (error: NodeJS.ErrnoException) => {
      // EINVAL: an address such as 127.0.0.1, from which no packet may leave this machine.
      if (error.syscall === 'bind' || (source && error.code === 'EINVAL')) lost ??= new SourceUnusable(noSource(error))
      const words = overSocket ? socketProblems[error.code ?? ''] : undefined
      fail(words ? `${words} (${error.code})` : (error.code ?? error.message))
    })
    on.on('close', () => fail('closed'))
  }

  /** Waits until `done`, no longer than `limit` milliseconds. */
  async function until(done: () => boolean, limit: number, what: string): Promise<void> {
    const end = performance.now() + limit
    while (!done()) {
      if (lost) throw lost
      const left = end - performance.now()
      if (left <= 0) fail(`time-out ${what}`)
      else {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, left)
          stir = () => {
            clearTimeout(timer)
            resolve()
          }
        })
        stir = null
      }
    }
  }

  let connected = false
  socket.on('connect', () => {
    connected = true
    stir?.()
  })
  listen(socket)
  await until(() => connected, limit, 'connecting')

  const connection: Connection = {
    tls: null,
    async write(data, limit) {
      if (lost) throw lost
      if (socket.write(data)) return
      await until(() => !socket.writableNeedDrain || replies.length > 0, limit, 'sending')
    },
    async reply(limit) {
      await until(() => replies.length > 0, limit, 'waiting for a reply')
      return replies.shift()!
    },
    hasReply: () => replies.length > 0,
    isQuiet: () => lost === null && replies.length === 0 && !reader.pending(),
    check() {
      if (lost) throw lost
    },
    async startTls(host, tls, limit) {
      // Octets that came in the clear behind the reply to STARTTLS are an attacker's (CVE-2011-0411).
      if (reader.pending() || replies.length > 0) fail('octets in the clear after STARTTLS')
      if (lost) throw lost
      socket.removeAllListeners()
      const clear = socket
      reader = newReader()
      let secure = false
      const name = tls.servername ?? host
      // The handshake goes through with any certificate, so that a bad one can be told from a handshake that failed.
      const wrapped = connectTls({
        socket: clear, rejectUnauthorized: false, minVersion: tls.minVersion, ...(isIP(name) ? {} : { servername: name }),
        ...(tls.context ? { secureContext: tls.context } : {}), checkServerIdentity: (_name, certificate) => checkServerIdentity(name, certificate),
      }, () => {
        secure = true
        stir?.()
      })
      socket = wrapped
      clear.on('error', () => {})
      listen(wrapped)
      await until(() => secure, limit, 'in the TLS handshake')
      connection.tls = { version: wrapped.getProtocol() ?? '', cipher: wrapped.getCipher().standardName, verified: wrapped.authorized }
      if (tls.level === 'verify' && !wrapped.authorized) {
        lost ??= new CertificateRefused(`its certificate is not accepted for ${name} (${String(wrapped.authorizationError)})`)
        socket.destroy()
        throw lost
      }
    },
    abort: fail,
    close() {
      lost ??= new ConnectionLost('closed')
      socket.end()
      setTimeout(() => socket.destroy(), 1000).unref()
    },
  }
  return connection
}
