import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createTransport } from 'nodemailer'
import { testIngress } from '../ingress/testing.ts'
import { needs } from './support/packages.ts'
import { startPostfix, withoutRoot } from './support/postfix.ts'
import { until } from './support/until.ts'

const edge = await testIngress({ limits: { messageSize: '51MiB' } })
after(edge.end)
const skip = needs('postfix') || withoutRoot()

const cases: [string, string, Record<string, string>, string][] = [
  ['over SMTP in the clear', 'smtp', { smtp_tls_security_level: 'none' }, 'ESMTP'],
  ['over SMTP with STARTTLS', 'smtp', { smtp_tls_security_level: 'encrypt' }, 'ESMTPS'],
  ['over LMTP', 'lmtp', {}, 'LMTP'],
]
for (const [name, kind, tls, protocol] of cases) {
  test(`Postfix hands its queue to us ${name}: small, large, 8-bit and UTF-8 messages, DSN parameters, many recipients`, { skip }, async () => {
    const host = `[127.0.0.1]:${edge.port(kind)}`
    const postfix = await startPostfix([], { ...tls, ...(kind === 'lmtp' ? { default_transport: `lmtp:inet:${host}` } : { relayhost: host }) })
    const transport = createTransport({ host: '127.0.0.1', port: postfix.port, ignoreTLS: true })
    try {
      await edge.sql`delete from messages`
      const sizes = [0, 100, 20_000, 20 * 1024 * 1024]
      for (const size of sizes) {
        const raw = `Subject: ${size}\r\n\r\n${'x'.repeat(76)}\r\n`.slice(0, 30) + `\r\n${`${'y'.repeat(76)}\r\n`.repeat(Math.floor(size / 78))}`
        await transport.sendMail({ envelope: { from: 's@a.test', to: ['one@example.test', 'two@example.test'] }, raw })
      }
      await transport.sendMail({ envelope: { from: 's@a.test', to: 'r@example.test', use8BitMime: true }, raw: Buffer.from('Subject: x\r\n\r\n\xe9\r\n.\r\n', 'latin1') } as never)
      await transport.sendMail({ envelope: { from: 'sé@a.test', to: 'ré@example.test' }, raw: Buffer.from('Subject: é\r\n\r\né\r\n') })
      await transport.sendMail({ envelope: { from: 's@a.test', to: 'dsn@example.test' }, raw: 'Subject: x\r\n\r\n', dsn: { notify: ['failure', 'delay'], return: 'headers', id: 'id+1' } } as never)
      const many = Array.from({ length: 120 }, (_, i) => `m${i}@example.test`)
      await transport.sendMail({ envelope: { from: 's@a.test', to: many }, raw: 'Subject: many\r\n\r\n' })
      await until('all of it has come', async () => {
        const [row] = await edge.sql<{ count: number; protocols: string[] }[]>`
          select count(*) as count, array_agg(distinct m.origin->>'protocol') as protocols from recipients r join messages m on m.id = r.message_id`
        return row!.count === 2 * sizes.length + 3 + many.length && row!.protocols
      }).then((protocols) => assert.deepEqual(protocols.sort(), [protocol, `UTF8${protocol.replace('E', '')}`].sort()))
      const rows = await edge.sql<{ path: string; sender: string; body: string; utf8: boolean; ret: string; envid: string; notify: string[]; orcpt: string }[]>`
        select forward_path as path, reverse_path as sender, body_type as body, smtp_utf8 as utf8, ret, envid, notify, orcpt
        from recipients r join messages m on m.id = r.message_id order by m.accepted_at desc limit 200`
      const of = (path: string) => rows.find((row) => row.path === path)!
      assert.equal(of('r@example.test').body, '8BITMIME')
      assert.deepEqual([of('ré@example.test').sender, of('ré@example.test').utf8], ['sé@a.test', true])
      const dsn = of('dsn@example.test')
      assert.deepEqual([dsn.ret, dsn.envid, [...dsn.notify].sort(), dsn.orcpt], ['HDRS', 'id+2B1', ['DELAY', 'FAILURE'], 'rfc822;dsn@example.test'])
      const [largest] = await edge.sql<{ size: number }[]>`select max(size) as size from messages`
      assert.ok(largest!.size > 20_000_000)
    } finally {
      transport.close()
      await postfix.stop()
    }
  })
}
