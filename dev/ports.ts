// Free ports of this machine.

import { createServer } from 'node:net'

/** A TCP port that was free on 127.0.0.1 a moment ago. */
export async function freePort(): Promise<number> {
  return await listenOnce(0, '127.0.0.1')
}

/** Whether another socket listens there. What else may be wrong with the address is found by who listens on it. */
export async function isTaken(port: number, address: string): Promise<boolean> {
  return await listenOnce(port, address).then(() => false, (error: NodeJS.ErrnoException) => error.code === 'EADDRINUSE')
}

async function listenOnce(port: number, address: string): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(port, address, () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
