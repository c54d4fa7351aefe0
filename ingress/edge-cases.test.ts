import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { after, mock, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../test/support/until.ts'
import { dialogue, openClient, testIngress } from './testing.ts'

const edge = await testIngress({
  limits: { lineLength: 998, idleTime: '400ms', dataTime: '1s', clientConnections: 3, clientMessages: 40, clientRecipients: 50, errors: 99 },
})
after(edge.end)
const counted = (name: string) => (edge.ingress.counters.all() as Record<string, number>)[name] ?? 0
const envelope = '> EHLO c.test\n< 250\n> MAIL FROM:<s@a.test>\n< 250\n> RCPT TO:<r@example.test>\n< 250\n'

test('who speaks before the greeting is refused, and who waits is greeted at once', async () => {
  const early = connect(edge.port('smtp') as number, '127.0.0.1')
  early.write('EHLO c.test\r\n')
  const [said] = await once(early, 'data') as [Buffer]
  assert.match(said.toString(), /^554 5\.5\.1 /)
  await once(early, 'close')
  const client = openClient(edge.port('smtp'))
  assert.match(await client.reply(), /^220 mx\.example\.test ESMTP Everpost$/)
  client.close()
  assert.equal(counted('protocol.earlyTalker'), 1)
})

test('what follows STARTTLS in the clear is thrown away, and what was said before is forgotten', async () => {
  const client = openClient(edge.port('smtp'))
  await client.reply()
  client.send('EHLO c.test\r\n')
  await client.reply()
  client.send('STARTTLS\r\nMAIL FROM:<evil@a.test>\r\n')
  assert.match(await client.reply(), /^220 2\.0\.0/)
  await client.startTls()
  client.send('RCPT TO:<r@example.test>\r\n')
  assert.match(await client.reply(), /^503 5\.5\.1/)
  client.send('MAIL FROM:<s@a.test>\r\n')
  assert.match(await client.reply(), /^503 5\.5\.1 Say EHLO first/)
  client.close()
})

test('lines over the limit are refused and not split, those at it are taken', async () => {
  await dialogue(edge.port('smtp'), `${envelope}> DATA\n< 354\n> ${'x'.repeat(998)}\n> .\n< 250 2.0.0`)
  await dialogue(edge.port('smtp'), `${envelope}> DATA\n< 354\n> ${'x'.repeat(999)}\n> .\n< 550 5.6.0`)
  await dialogue(edge.port('smtp'), `${envelope}> DATA\n< 354\n> ${'x'.repeat(300_000)}\n> .\n< 550 5.6.0\n> NOOP\n< 250`)
})

test('a silent client is told so and let go: idle, and in the middle of a message', async () => {
  const before = counted('limited.time')
  await dialogue(edge.port('smtp'), '> EHLO c.test\n< 250\n< 421 4.4.2\n< closed')
  await dialogue(edge.port('smtp'), `${envelope}> DATA\n< 354\n> Subject: x\n< 421 4.4.2\n< closed`.replace('> Subject: x\n', '>> Subject\n'))
  assert.equal(counted('limited.time'), before + 2)
})

test('a message that trickles is cut off when its time is over', async () => {
  const client = openClient(edge.port('smtp'))
  await client.reply()
  for (const line of ['EHLO c.test', 'MAIL FROM:<s@a.test>', 'RCPT TO:<r@example.test>', 'DATA']) {
    client.send(`${line}\r\n`)
    await client.reply()
  }
  const trickle = setInterval(() => client.send('x'), 50)
  assert.match(await client.reply(), /^421 4\.4\.2 The message took too long/)
  clearInterval(trickle)
  client.close()
})

test('a clock that jumps ends neither a message on its way in nor a command', async () => {
  const client = openClient(edge.port('smtp'))
  await client.reply()
  const now = Date.now()
  let ahead = 0
  const jumping = mock.method(Date, 'now', () => now + ahead)
  try {
    for (const line of ['EHLO c.test', 'MAIL FROM:<s@a.test>', 'RCPT TO:<r@example.test>', 'DATA', 'Subject: x\r\n\r\n.', 'NOOP']) {
      client.send(line.slice(0, 2))
      await sleep(20)
      ahead += 86_400_000
      client.send(`${line.slice(2)}\r\n`)
      assert.match(await client.reply(), /^[23]/, line)
    }
  } finally {
    jumping.mock.restore()
    client.close()
  }
})

test('no more connections of one client than its limit; others are served', async () => {
  const clients = [1, 2, 3].map(() => openClient(edge.port('smtp')))
  for (const client of clients) assert.match(await client.reply(), /^220/)
  const one = openClient(edge.port('smtp'))
  assert.match(await one.reply(), /^421 4\.7\.0/)
  const other = openClient(edge.port('smtp'), { localAddress: '127.0.0.2' })
  assert.match(await other.reply(), /^220/)
  for (const client of [...clients, one, other]) client.close()
  assert.ok(counted('limited.connections') >= 1)
  await until('the place is free again', async () => {
    const again = openClient(edge.port('smtp'))
    const reply = await again.reply()
    again.close()
    return reply.startsWith('220')
  })
})

test('who never begins TLS, behind a proxy or not, has no more connections than others, and keeps nobody out', async () => {
  const other = await testIngress({
    limits: { clientConnections: 2, connections: 5 }, trustedProxies: ['127.0.0.9'], listeners: [{ kind: 'submissions', address: '127.0.0.1', port: 0, proxyProtocol: true }],
  })
  const port = other.port('submissions') as number
  const silent = async (localAddress: string, header = '') => {
    const socket = connect({ host: '127.0.0.1', port, localAddress }).on('error', () => {}).resume()
    await once(socket, 'connect')
    socket.write(header)
    return socket
  }
  const closes = async (...asked: Parameters<typeof silent>) => void await once(await silent(...asked), 'close', { signal: AbortSignal.timeout(5000) })
  const greeted = async (localAddress: string) => {
    const client = openClient(port, { tls: true, localAddress })
    return { client, code: (await client.reply()).slice(0, 3) }
  }
  const counts = () => (['connections', 'connections.refused', 'limited.connections', 'tls.failed'] as const).map((name) => other.ingress.counters.all()[name] ?? 0)
  try {
    const session = await greeted('127.0.0.1')
    // Their handshakes fail, and what they held is given back.
    for (let i = 0; i < 5; i++) await once(await silent('127.0.0.1', 'EHLO c.test\r\n'), 'close')
    const waiting = await silent('127.0.0.1')
    await closes('127.0.0.1')
    assert.deepEqual(counts(), [8, 0, 1, 5])
    const header = 'PROXY TCP4 192.0.2.7 127.0.0.1 1 465\r\n'
    for (let i = 0; i < 2; i++) await silent('127.0.0.9', header)
    await until('both are counted', () => counts()[0] === 10)
    await closes('127.0.0.9', header)
    assert.deepEqual(counts(), [11, 0, 2, 5])
    const fifth = await greeted('127.0.0.2')
    assert.deepEqual([session.code, fifth.code], ['220', '220'])
    await closes('127.0.0.3')
    assert.deepEqual(counts(), [13, 1, 2, 5])
    waiting.end()
    await until('its place is free', async () => (await greeted('127.0.0.3')).code === '220', 5000)
  } finally {
    await other.end()
  }
})

test('a proxy that says nothing has no more connections than the listener, and those dropped are counted', async () => {
  const small = await testIngress({ limits: { connections: 1 }, trustedProxies: ['127.0.0.1'], listeners: [{ kind: 'smtp', address: '127.0.0.1', port: 0, proxyProtocol: true }] })
  const silent = [0, 1].map(() => connect(small.port('smtp') as number, '127.0.0.1').on('error', () => {}).resume())
  await once(silent[1]!, 'close', { signal: AbortSignal.timeout(5000) })
  const { connections, 'connections.refused': refused } = small.ingress.counters.all()
  assert.deepEqual([connections, refused, silent[0]!.destroyed], [1, 1, false])
  silent[0]!.destroy()
  await small.end()
})

test('no more connections in all than the limit of a listener', async () => {
  const small = await testIngress({ limits: { connections: 1 } })
  const one = openClient(small.port('smtp'))
  assert.match(await one.reply(), /^220/)
  const two = openClient(small.port('smtp'))
  assert.match(await two.reply(), /^421 4\.3\.2/)
  assert.equal(await two.reply(), 'closed')
  assert.equal(small.ingress.counters.all()['connections.refused'], 1)
  one.close()
  await small.end()
})

test('messages and recipients in a minute are limited for each client', async () => {
  const client = openClient(edge.port('smtp'), { localAddress: '127.0.0.3' })
  await client.reply()
  client.send('EHLO c.test\r\n')
  await client.reply()
  const ask = async (line: string) => {
    client.send(`${line}\r\n`)
    return await client.reply()
  }
  for (let i = 0; i < 39; i++) {
    assert.match(await ask('MAIL FROM:<s@a.test>'), /^250/)
    assert.match(await ask('RSET'), /^250/)
  }
  assert.match(await ask('MAIL FROM:<s@a.test>'), /^250/)
  for (let i = 0; i < 50; i++) assert.match(await ask(`RCPT TO:<r${i}@example.test>`), /^250/)
  assert.match(await ask('RCPT TO:<r@example.test>'), /^450 4\.7\.1/)
  await ask('RSET')
  assert.match(await ask('MAIL FROM:<s@a.test>'), /^450 4\.7\.1/)
  client.close()
  assert.deepEqual([counted('limited.messages'), counted('limited.recipients')], [1, 1])
})

test('a client that half-closes after its last word still hears our replies', async () => {
  const client = openClient(edge.port('smtp'), { localAddress: '127.0.0.4' })
  await client.reply()
  client.send('EHLO c.test\r\n')
  await client.reply()
  client.socket.end('MAIL FROM:<s@a.test>\r\nRCPT TO:<r@example.test>\r\nQUIT\r\n')
  for (const code of ['250', '250', '221', 'closed']) assert.ok((await client.reply()).startsWith(code))
})

test('a client that asks and asks, and never reads, is let go', async () => {
  const client = openClient(edge.port('smtp'), { localAddress: '127.0.0.5' })
  await client.reply()
  client.send('EHLO c.test\r\n')
  await client.reply()
  const closed = once(client.socket, 'close')
  client.send('HELP\r\n'.repeat(10_000))
  for (let i = 0; i < 99; i++) assert.match(await client.reply(), /^214/)
  assert.match(await client.reply(), /^421 4\.7\.0/)
  await closed
})

test('a command that trickles in does not keep the session alive', async () => {
  const client = openClient(edge.port('smtp'), { localAddress: '127.0.0.6' })
  await client.reply()
  const trickle = setInterval(() => client.send('x'), 50)
  assert.match(await client.reply(), /^421 4\.4\.2/)
  clearInterval(trickle)
  client.close()
})

test('a listener that stops finishes the message on its way in, and tells idle clients', async () => {
  const other = await testIngress({ relayNetworks: ['127.0.0.1'] })
  const idle = openClient(other.port('smtp'))
  await idle.reply()
  const busy = openClient(other.port('smtp'))
  await busy.reply()
  for (const line of ['EHLO c.test', 'MAIL FROM:<s@a.test>', 'RCPT TO:<r@example.test>', 'DATA']) {
    busy.send(`${line}\r\n`)
    await busy.reply()
  }
  busy.send('Subject: x\r\n')
  await sleep(50)
  const stopped = other.ingress.stop()
  assert.match(await idle.reply(), /^421 4\.3\.2/)
  busy.send('.\r\n')
  assert.match(await busy.reply(), /^250 2\.0\.0 Ok: queued/)
  assert.match(await busy.reply(), /^421 4\.3\.2/)
  await stopped
  await other.end()
})

test('the reply to a message does not wait for what was pipelined behind it', async () => {
  let over = 0
  const slow = createServer((socket) => void socket.on('error', () => {}).on('close', () => over++).resume()) // an LMTP server that never greets
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve))
  const { port } = slow.address() as { port: number }
  const other = await testIngress({
    localDomains: { 'slow.test': { deliver: 'lmtp', host: '127.0.0.1', port, callout: true }, 'example.test': { deliver: 'maildir', path: '/nowhere' } },
  })
  const client = openClient(other.port('smtp'))
  await client.reply()
  for (const line of ['EHLO c.test', 'MAIL FROM:<s@a.test>', 'RCPT TO:<r@example.test>', 'DATA']) {
    client.send(`${line}\r\n`)
    await client.reply()
  }
  client.send('.\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<r@slow.test>\r\n')
  assert.match(await client.reply(), /^250 2\.0\.0 Ok: queued/)
  assert.equal(over, 0, 'the callout is still waited for')
  client.close()
  slow.close()
  await other.end()
})
