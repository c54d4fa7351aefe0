// A client of the Temporal that all test files share, and a connection for workers of the test's own, whose workflows are broken on purpose.

import { after } from 'node:test'
import { Client, Connection } from '@temporalio/client'
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker'

/** Once in a test file. Both are closed after its tests; what broken workflows throw is not logged. */
export async function connectTemporal(): Promise<{ client: Client; native: NativeConnection }> {
  Runtime.install({ logger: new DefaultLogger('ERROR', () => {}) })
  const address = process.env['EVERPOST_TEST_TEMPORAL']!
  const connection = await Connection.connect({ address })
  const native = await NativeConnection.connect({ address })
  after(async () => {
    await connection.close()
    await native.close()
  })
  return { client: new Client({ connection }), native }
}
