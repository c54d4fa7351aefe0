import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePort } from '../dev/ports.ts'
import { startPostgres } from '../dev/postgres.ts'
import { prepareEverpost } from './support/everpost.ts'

test('Postgres dies between the dot and the reply: the reply is recorded when it is back, and nothing is sent twice', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-scenario-'))
  const options = { folder, port: await freePort(), progress: () => {} }
  let postgres = await startPostgres(options)
  process.env['EVERPOST_TEST_DATABASE_URL'] = postgres.url
  const sink = await startSlowSink(async () => {
    process.kill(postgres.pid, 'SIGQUIT')
    await postgres.stop()
  })
  const everpost = await prepareEverpost({ worker: { lease: '30s' }, routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${sink.port}` }] })
  try {
    await everpost.start()
    const id = await everpost.send('a@partner.test')
    await sink.replied
    postgres = await startPostgres(options)
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(sink.taken(), 1)
  } finally {
    await everpost.end()
    sink.close()
    await postgres.stop()
    rmSync(folder, { recursive: true, force: true })
  }
})

/** Does something between the first dot and its reply. */
async function startSlowSink(meanwhile: () => Promise<void>) {
  let taken = 0
  let tell = () => {}
  const replied = new Promise<void>((resolve) => { tell = resolve })
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    let inData = false
    socket.on('error', () => {}).write('220 sink.test\r\n')
    socket.setEncoding('latin1').on('data', async (text: string) => {
      if (!inData) {
        inData = text.startsWith('DATA')
        socket.write(inData ? '354 go on\r\n' : '250 ok\r\n')
      } else if (text.endsWith('\r\n.\r\n') || text === '.\r\n') {
        inData = false
        if (++taken === 1) await meanwhile()
        socket.write('250 taken\r\n')
        tell()
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as { port: number }).port, replied, taken: () => taken,
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}
