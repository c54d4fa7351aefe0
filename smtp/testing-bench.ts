// For tests: one host and one pool, and messages sent there one after the other.

import type { AttemptResult } from '../mail/outcome.ts'
import { createDns } from './dns.ts'
import { createPool, type Pool, type PoolLimits } from './pool.ts'
import { type Peer, recipientsOf, type Script, startPeer, testRequest } from './testing.ts'
import { transfer, type TransferRequest } from './transfer.ts'

const dns = createDns({ servers: [], timeout: 1000 })

export interface Bench {
  peer: Peer
  pool: Pool
  /** Sends one message; its outcomes in brief. */
  send(change?: Partial<TransferRequest>): Promise<string[]>
  /** What the last message sent came to. */
  last(): AttemptResult
  verbs(): string[]
}

/** `script` may be changed while it runs. */
export async function bench(script: Script, use: (bench: Bench) => Promise<void>, limits: Partial<PoolLimits> = {}) {
  const pool = createPool({ idle: 10_000, age: 60_000, messages: 100, connections: 10, ...limits })
  const peer = await startPeer(script)
  let result: AttemptResult
  const send = async (change: Partial<TransferRequest> = {}) => {
    result = await transfer(testRequest(peer.port, { recipients: recipientsOf('a@x.test'), ...change }), { dns, pool })
    return Object.values(result.outcomes).map(({ status, phase, enhanced }) => `${status} ${phase} ${enhanced}`)
  }
  try {
    await use({ peer, pool, send, last: () => result, verbs: () => peer.commands.map((line) => line.split(' ')[0]!) })
  } finally {
    pool.close()
    await peer.close()
  }
}
