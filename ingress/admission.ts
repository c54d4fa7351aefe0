// Who may come in on one listener: connections are counted from before their TLS handshake to their end, in all and by client.

import type { Socket } from 'node:net'
import { plainAddress } from './networks.ts'
import { type Reply, reply } from './reply.ts'
import type { Edge } from './session.ts'

export interface Client {
  address: string
  port: number
}

/** `refused`: said instead of the greeting. */
export type Arrival = Client & { refused: Reply | null }

export interface Admission {
  /** To be asked once for each connection, as soon as it is known whose it is (`named`: by a proxy). Throws: it is dropped. */
  admit(socket: Socket, named: Client | null): Arrival
  /** Counts one that was dropped because as many wait for TLS, or for their PROXY header, as there may be connections. */
  dropped(): void
}

export function createAdmission({ settings, listener, counters, limits }: Pick<Edge, 'settings' | 'listener' | 'counters' | 'limits'>): Admission {
  const open = new Set<Socket>()

  /** Null: it is counted for the client. */
  function refusal(client: string): Reply | null {
    counters.count('connections')
    if (open.size >= settings.limits.connections) {
      counters.count('connections.refused')
      return reply(421, '4.3.2', 'Too many connections; try again later')
    }
    if (limits.connected(client)) return null
    counters.count('limited.connections')
    return reply(421, '4.7.0', 'Too many connections from you; try again later')
  }

  return {
    admit(socket, named) {
      // Behind a Unix socket is a program of this machine; whoever else has no address is gone already.
      const from = named ?? { address: listener.path === undefined ? socket.remoteAddress : '127.0.0.1', port: socket.remotePort ?? 0 }
      if (from.address === undefined || socket.destroyed) throw new Error('the client is gone')
      const address = plainAddress(from.address)
      const refused = refusal(address)
      // To say so would take the handshake, which is what it must not cost us.
      if (refused && listener.kind === 'submissions') throw new Error('too many connections')
      if (refused === null) {
        open.add(socket)
        socket.once('close', () => {
          open.delete(socket)
          limits.disconnected(address)
        })
      }
      return { address, port: from.port, refused }
    },
    dropped() {
      counters.count('connections')
      counters.count('connections.refused')
    },
  }
}
