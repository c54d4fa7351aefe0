import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { openClient, testIngress } from './testing.ts'

const edge = await testIngress({ limits: { idleTime: '3s', clientMessages: 0, clientRecipients: 0, errors: 30 }, relayNetworks: [] })
after(edge.end)

const words = fc.constantFrom(
  'EHLO c.test\r\n', 'MAIL FROM:<s@a.test>\r\n', 'MAIL FROM:<s@a.test> BODY=BINARYMIME\r\n', 'RCPT TO:<r@example.test>\r\n',
  'DATA\r\n', 'BDAT 5\r\n', 'BDAT 7 LAST\r\n', 'BDAT 999999\r\n',
  'RSET\r\n', 'NOOP\r\n', 'HELP\r\n', 'AUTH PLAIN\r\n', 'XCLIENT ADDR=1.2.3.4\r\n',
  'VRFY x\r\n', '.\r\n', '\r\n', '\r\n.\r\n', '\n', '\r', '\0', '.', '\n.\n', '\xff\xfe', 'Subject: x\r\n', 'x'.repeat(20_000),
)
const noise = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((octet) => String.fromCharCode(octet)), maxLength: 40 })
const pieces = fc.array(fc.oneof({ arbitrary: words, weight: 6 }, { arbitrary: noise, weight: 1 }), { maxLength: 25 })

/** All that the server says, from the greeting to its hanging up. */
async function sendAll(chunks: string[], waitForGreeting: boolean): Promise<string> {
  const socket = connect(edge.port('smtp') as number, '127.0.0.1').setNoDelay()
  let said = ''
  socket.on('data', (chunk: Buffer) => { said += chunk.toString('latin1') }).on('error', () => {})
  const closed = once(socket, 'close')
  if (waitForGreeting) await once(socket, 'data')
  for (const chunk of chunks) {
    socket.write(Buffer.from(chunk, 'latin1'))
    await new Promise(setImmediate)
  }
  socket.end()
  await closed
  return said
}

test('whatever a client sends, however it is cut: no crash, no hang, a reply to each message that is stored and to no other', async () => {
  await fc.assert(fc.asyncProperty(pieces, fc.boolean(), fc.boolean(), async (parts, merged, waits) => {
    const before = await edge.count()
    const said = await sendAll(merged ? [parts.join('')] : parts, waits)
    assert.match(said, /^(220 mx\.example\.test|554 5\.5\.1)/)
    assert.match(said, /^(\d{3}[ -][ -~]*\r\n)*$/, 'every line is a reply')
    assert.equal(await edge.count() - before, said.match(/^250 2\.0\.0 Ok: queued/gm)?.length ?? 0)
  }), { numRuns: 150 })
})

test('one message in is one message out: no body makes a second one, and one that is taken is kept octet for octet', async () => {
  await fc.assert(fc.asyncProperty(pieces, fc.array(fc.nat(300), { maxLength: 8 }), async (parts, at) => {
    const body = parts.join('').replace(/(^|\r\n)\./g, '$1x.')
    const client = openClient(edge.port('smtp'))
    await client.reply()
    const before = await edge.count()
    for (const line of ['EHLO c.test', 'MAIL FROM:<s@a.test>', 'RCPT TO:<r@example.test>', 'DATA']) {
      client.send(`${line}\r\n`)
      await client.reply()
    }
    const wire = `${body}\r\n.\r\n`
    const bounds = [...new Set([0, ...at.filter((each) => each < wire.length), wire.length])].sort((a, b) => a - b)
    for (let i = 1; i < bounds.length; i++) {
      client.send(wire.slice(bounds[i - 1], bounds[i]))
      await new Promise(setImmediate)
    }
    const reply = await client.reply()
    client.send('QUIT\r\n')
    assert.match(await client.reply(), /^221 /, 'what comes next is the reply to the next command')
    client.close()
    const clean = !/\0|\r(?!\n)|(?<!\r)\n/.test(`${body}\r\n`)
    assert.match(reply, clean ? /^250 2\.0\.0 Ok: queued as / : /^550 5\.6\.0 /)
    assert.equal(await edge.count() - before, clean ? 1 : 0)
    if (clean) assert.equal((await edge.stored(reply)).body, `${body}\r\n`)
  }), { numRuns: 100 })
})

test('octets without end cost no memory: lines, parameters, a body that is too large', async () => {
  const line = 'x'.repeat(64 * 1024)
  const before = process.memoryUsage.rss()
  const floods: [string, string][] = [['', line], ['EHLO c.test\r\nAUTH PLAIN ', line]]
  for (const [opening, repeated] of floods) {
    const socket = connect(edge.port('smtp') as number, '127.0.0.1')
    const closed = once(socket.on('error', () => {}), 'close')
    await once(socket, 'data')
    socket.write(opening)
    for (let i = 0; i < 1000 && !socket.destroyed; i++) {
      if (!socket.write(repeated)) await Promise.race([once(socket, 'drain').catch(() => {}), closed])
    }
    socket.end()
    await closed
  }
  assert.ok(process.memoryUsage.rss() - before < 100 * 1024 * 1024)
})
