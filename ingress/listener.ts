// One listening socket, on smtp-server: it accepts, guards what has not reached a session, makes TLS (SNI, contexts changed while it
// runs) and closes. Who may stay, and the conversation, are ours. The methods overridden are private ones of the version that package.json pins.

import { once } from 'node:events'
import { chmodSync, lstatSync, rmSync } from 'node:fs'
import type { Server, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import type { Listener } from '../settings/schema.ts'
import { type Admission, type Arrival, type Client, createAdmission } from './admission.ts'
import { plainAddress } from './networks.ts'
import { readProxyHeader } from './proxy-protocol.ts'
import { createSession, type Edge, type Session, serve, stopSession } from './session.ts'
import type { Certificates } from './tls.ts'

export interface Listening {
  port: number
  /** New connections, and sessions that say STARTTLS from now on, get these. */
  changeCertificates(certificates: Certificates): void
  /** No new connections; messages that are coming in are finished, for at most five seconds. */
  stop(): Promise<void>
}

/** Milliseconds for messages on their way in when the listener stops. */
const grace = 5000

class Engine extends SMTPServer {
  readonly admission: Admission
  believes: (address: string) => boolean = () => false
  serve: (socket: Socket, arrival: Arrival) => void = () => {}

  constructor(options: SMTPServerOptions, admission: Admission) {
    super(options)
    this.admission = admission
  }

  override connect(socket: Socket, arrival?: unknown): void {
    this.serve(socket, arrival as Arrival)
  }

  override _acceptSocket(socket: Socket, handshake: boolean): (() => void) | false {
    const release = super._acceptSocket(socket, handshake)
    if (!release) this.admission.dropped()
    return release
  }

  override _expectsProxyHeader(socket: Socket): boolean {
    return this.believes(socket.remoteAddress ?? '')
  }

  /** A client that leaves in the midst of its handshake is gone at once, not at the time-out: half-open is for those who have said something. */
  override _upgrade(socket: Socket, callback: Parameters<SMTPServer['_upgrade']>[1]): void {
    super._upgrade(socket, callback)
    const top = this._pendingSockets.get(socket)
    if (top && top !== socket) top.once('end', () => { if (this._pendingSockets.has(socket)) top.destroy() })
  }

  override _handleProxy(socket: Socket, callback: (error: Error | null, options?: never) => void): void {
    const done = callback as (error: Error | null, arrival?: Arrival) => void
    const named = this._expectsProxyHeader(socket) ? proxied(socket) : Promise.resolve(null)
    named.then((client) => this.admission.admit(socket, client)).then((arrival) => done(null, arrival), (error) => {
      socket.on('error', () => {}).destroy()
      done(error)
    })
  }
}

/** Throws an Error of one line that says what is wrong and what to do, when it cannot listen. */
export async function startListener(edge: Omit<Edge, 'upgrade' | 'hasTls'>, certificates: Certificates | null, isTrustedProxy: (address: string) => boolean): Promise<Listening> {
  const { settings, listener, counters, log } = edge
  const options: SMTPServerOptions & { allowHalfOpen: boolean } = {
    secure: listener.kind === 'submissions', ...(certificates ?? {}), minVersion: 'TLSv1.2',
    // A client may close its side after its last word, and still hear ours.
    allowHalfOpen: true,
    hideSTARTTLS: certificates === null, maxClients: settings.limits.connections, socketTimeout: Math.min(60_000, settings.limits.idleTime), closeTimeout: grace, logger: false,
  }
  const engine = new Engine(options, createAdmission(edge))
  const sessions = new Set<Session>()
  const whole: Edge = { ...edge, hasTls: certificates !== null, upgrade: (socket) => upgrade(engine, socket) }
  engine.believes = (address) => listener.proxyProtocol && isTrustedProxy(plainAddress(address))
  engine.serve = (socket, { address, port, refused }) => {
    const session = createSession(whole, socket, address, port)
    if (session.tls) counters.count('tls.handshakes')
    sessions.add(session)
    void serve(session, refused).finally(() => sessions.delete(session))
  }
  // A client's broken connection or failed handshake concerns that client alone.
  engine.on('error', (error: Error) => {
    if (listener.kind === 'submissions') counters.count('tls.failed')
    log.debug({ error: error.message, listener: listener.kind }, 'connection error')
  })
  const port = await listen(engine, listener)

  return {
    port,
    changeCertificates: (changed) => engine.updateSecureContext(changed),
    async stop() {
      const closed = new Promise<void>((resolve) => engine.close(() => resolve()))
      for (const session of sessions) stopSession(session)
      await Promise.race([closed, sleep(grace, undefined, { ref: false })])
      for (const session of sessions) session.wire.socket.destroy()
      await closed
    },
  }
}

/** STARTTLS by the same way, and the same time limit, as TLS from the start. */
function upgrade(engine: Engine, socket: Socket): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    // So that a stop breaks off the handshake from its upper end: Node does not survive the other.
    engine._pendingSockets.set(socket, socket)
    engine._upgrade(socket, (error, secure) => {
      engine._pendingSockets.delete(socket)
      if (secure) return resolve(secure)
      socket.on('error', () => {}).destroy()
      reject(error ?? new Error('the client left'))
    })
  })
}

/** The client that the PROXY header names, null: the proxy itself; octets after it stay in the socket. Rejects when there is none. */
async function proxied(socket: Socket): Promise<Client | null> {
  socket.on('error', () => {})
  let octets: Buffer = Buffer.alloc(0)
  for (;;) {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) {
      if (socket.readableEnded || socket.destroyed) throw new Error('the proxy left before its PROXY header')
      await new Promise<void>((resolve) => {
        const wake = () => {
          for (const event of ['readable', 'end', 'close']) socket.off(event, wake)
          resolve()
        }
        for (const event of ['readable', 'end', 'close']) socket.on(event, wake)
      })
      continue
    }
    octets = Buffer.concat([octets, chunk])
    const header = readProxyHeader(octets)
    if (header === 'wrong') throw new Error('the proxy sent no PROXY header')
    if (header === 'incomplete') continue
    if (octets.length > header.length) socket.unshift(octets.subarray(header.length))
    return header.client
  }
}

async function listen(engine: Engine, { kind, address, port, path }: Listener): Promise<number> {
  const where = path ?? `${address}:${port}`
  // A Unix socket that a dead process left behind would be in the way.
  if (path !== undefined && lstatSync(path, { throwIfNoEntry: false })?.isSocket()) rmSync(path)
  const server: Server = path === undefined ? engine.listen(port ?? 0, address) : engine.listen(path)
  try {
    await once(server, 'listening')
    // Open to every user of the machine, as a port of the loopback address is.
    if (path !== undefined) chmodSync(path, 0o666)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE') throw new Error(`Port ${where} (${kind}) is in use. Stop what listens there, or set another port in listeners.`, { cause: error })
    if (code === 'EACCES') throw new Error(`Port ${where} (${kind}) needs privileges. Use a port above 1023, or grant CAP_NET_BIND_SERVICE.`, { cause: error })
    throw new Error(`Cannot listen on ${where} (${kind}): ${code ?? String(error)}. Check listeners in the settings.`, { cause: error })
  }
  return path === undefined ? (server.address() as { port: number }).port : 0
}
