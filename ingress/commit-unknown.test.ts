import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { createTransport } from 'nodemailer'
import { pino } from 'pino'
import { settingsSchema } from '../settings/schema.ts'
import { openDatabase } from '../store/database.ts'
import { testDatabase } from '../test/support/database.ts'
import { startIngress } from './server.ts'
import { noAliases } from './testing.ts'

test('the connection to Postgres breaks after the commit and before its answer: the database is asked, and the 250 is right', async () => {
  const { sql, url, drop } = await testDatabase()
  const proxy = await startProxy(Number(new URL(url).port))
  const through = new URL(url)
  through.port = String(proxy.port)
  const broken = openDatabase(through.href, 2)
  const settings = settingsSchema.parse({ listeners: [{ kind: 'smtp', address: '127.0.0.1', port: 0 }], localDomains: { 'x.test': { deliver: 'maildir', path: '/nowhere' } } })
  const outbox = { full: () => false, accepted: () => {}, stop: async () => {} }
  const ingress = await startIngress({ settings, sql: broken, aliases: noAliases, startMessage: async () => {}, dns: { reverse: async () => null }, outbox, log: pino({ level: 'silent' }) })
  const transport = createTransport({ host: '127.0.0.1', port: ingress.addresses[0]!.port, ignoreTLS: true })
  try {
    const { response } = await transport.sendMail({ envelope: { from: 'a@x.test', to: 'b@x.test' }, raw: 'Subject: x\r\n\r\nx\r\n' })
    assert.equal(proxy.cuts(), 1)
    assert.match(response, /^250 /)
    assert.equal((await sql`select from messages`).length, 1)
  } finally {
    transport.close()
    await ingress.stop()
    await broken.end({ timeout: 1 })
    proxy.close()
    await drop()
  }
})

/** Passes everything on, but cuts the connection in place of the first answer to an INSERT. */
async function startProxy(target: number) {
  let cuts = 0
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const postgres = connect(target, '127.0.0.1')
    for (const socket of [client, postgres]) sockets.add(socket.on('error', () => {}))
    client.on('close', () => postgres.destroy()).pipe(postgres)
    postgres.on('close', () => client.destroy()).on('data', (octets: Buffer) => {
      if (cuts === 0 && octets.includes('INSERT 0 1')) {
        cuts++
        client.resetAndDestroy()
      } else client.write(octets)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as { port: number }).port, cuts: () => cuts,
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}
