// A gate before Temporal, whose dev server knows no TLS: real TLS, a client certificate where one is asked for, and an API key that each call must bear.

import { type ClientHttp2Session, connect, createSecureServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { Pair } from '../../smtp/testing-ca.ts'

export interface GateOptions {
  /** host:port of the Temporal behind it. */
  temporal: string
  pair: Pair
  /** In PEM form: clients must have a certificate of this CA. */
  clientCa?: string
  /** The API key that is right. */
  key?: string
  /** Calls that need no key. Temporal's own authorizer lets GetSystemInfo, with which every connection begins, pass. */
  open?: (path: string) => boolean
}

export interface Gate {
  address: string
  /** Calls, each by its method's name, with what stood in `authorization`. */
  calls: { method: string; authorization: string | undefined }[]
  /** From now on: another CA of clients, or another key. Who is connected is cut off. */
  change(options: Partial<Pick<GateOptions, 'clientCa' | 'key'>>): void
  close(): Promise<void>
}

const unauthenticated = 16

export async function startGate({ temporal, pair, open = () => false, ...rest }: GateOptions): Promise<Gate> {
  let now = rest
  const calls: Gate['calls'] = []
  const sessions = new Map<ServerHttp2Session, ClientHttp2Session>()
  const context = () => (now.clientCa === undefined ? pair : { ...pair, ca: now.clientCa })
  const server = createSecureServer({ ...context(), requestCert: now.clientCa !== undefined, rejectUnauthorized: now.clientCa !== undefined })
  const cutOff = () => {
    for (const [inner, outer] of sessions) for (const session of [inner, outer]) session.destroy()
  }

  server.on('session', (session) => {
    const behind = connect(`http://${temporal}`)
    sessions.set(session, behind)
    behind.on('error', () => session.destroy())
    session.on('error', () => {}).on('close', () => {
      sessions.delete(session)
      behind.destroy()
    })
  })
  server.on('stream', (stream, headers) => {
    const path = String(headers[':path'])
    calls.push({ method: path.split('/').at(-1)!, authorization: headers.authorization })
    stream.on('error', () => {})
    if (now.key !== undefined && headers.authorization !== `Bearer ${now.key}` && !open(path)) {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(unauthenticated), 'grpc-message': 'Request unauthorized.' }, { endStream: true })
    } else pass(stream, headers, sessions.get(stream.session as ServerHttp2Session)!)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    change(options) {
      now = { ...now, ...options }
      server.setSecureContext(context())
      cutOff()
    },
    close() {
      cutOff()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

/** One call, both ways. A reply of header fields alone is passed on as one. */
function pass(stream: ServerHttp2Stream, { ':authority': _, ':scheme': __, ...headers }: IncomingHttpHeaders, behind: ClientHttp2Session): void {
  const call = behind.request(headers)
  let trailers: IncomingHttpHeaders = {}
  call.on('error', () => stream.close())
  call.on('response', (answer, flags) => {
    if (stream.destroyed) return
    const endStream = (flags & 1) !== 0
    stream.respond(answer, { endStream, waitForTrailers: !endStream })
    if (!endStream) call.pipe(stream)
  })
  call.on('trailers', (fields) => { trailers = fields })
  stream.on('wantTrailers', () => stream.sendTrailers(trailers)).on('close', () => call.close())
  stream.pipe(call)
}
