import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createBodyCheck } from '../../ingress/body-check.ts'
import { headerSection, withoutField } from '../../mail/headers.ts'
import type { Reply } from '../../mail/reply.ts'
import { createDotStuffer } from '../../smtp/dot-stuff.ts'
import { createReplyReader, ReplySyntaxError } from '../../smtp/replies.ts'
import { chunked, fuzz, octets } from './budget.ts'

async function* stream(chunks: Buffer[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}

async function collect(of: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of of) parts.push(part)
  return Buffer.concat(parts)
}

test('replies: any octets, cut anywhere, are the same replies, and the same syntax error after them; what is kept is printable', async () => {
  const replies = fc.array(fc.tuple(fc.nat(699), fc.constantFrom(' ', '-', '', '\t'), octets(60)), { maxLength: 6 }).map((list) =>
    Buffer.concat(list.flatMap(([code, sign, rest]) => [Buffer.from(`${code}${sign}`), rest, Buffer.from('\r\n')])))
  const read = (chunks: Buffer[]) => {
    const found: Reply[] = []
    const reader = createReplyReader((reply) => found.push(reply))
    let problem: string | null = null
    try {
      for (const chunk of chunks) reader.feed(chunk)
    } catch (error) {
      if (!(error instanceof ReplySyntaxError)) throw error
      problem = error.message
    }
    return { found, problem }
  }
  await fuzz(fc.property(chunked(fc.oneof(octets(), replies)), ({ whole, chunks }) => {
    const { found, problem } = read(chunks)
    assert.deepEqual({ found, problem }, read([whole]))
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be left
    assert.doesNotMatch(JSON.stringify(found.map((reply) => reply.text.replaceAll('\n', ''))), /[\x00-\x1f\x7f]/)
  }))
})

test('dot-stuffing: any octets, cut anywhere, come out at the other end as they went in, and the dot ends them', async () => {
  await fuzz(fc.property(chunked(octets()), ({ whole, chunks }) => {
    const stuffer = createDotStuffer()
    const wire = Buffer.concat([...chunks.flatMap((chunk) => stuffer.stuff(chunk)), Buffer.from(`${stuffer.end()}.\r\n`)]).toString('latin1')
    const end = wire.startsWith('.\r\n') ? 0 : wire.indexOf('\r\n.\r\n') + 2
    assert.equal(end + 3, wire.length, 'the first end of data is the last')
    const taken = `\r\n${wire.slice(0, end)}`.replaceAll('\r\n..', '\r\n.').slice(2)
    const sent = whole.toString('latin1')
    assert.equal(taken, sent === '' || sent.endsWith('\r\n') ? sent : `${sent}\r\n`)
  }))
})

test('body check: any octets, cut anywhere, are judged as the whole is', async () => {
  await fuzz(fc.property(chunked(octets()), ({ whole, chunks }) => {
    const check = createBodyCheck({ binary: false, lineLength: 0 })
    for (const chunk of chunks) if (chunk.length > 0) check.feed(chunk)
    check.end()
    const line = whole.toString('latin1')
    assert.equal(check.fault() === null, !/\0|\r(?!\n)|(?<!\r)\n/.test(line), JSON.stringify([line, check.fault()]))
    assert.equal(check.size(), whole.length)
  }))
})

test('headers: a field is taken out whole wherever the chunks end, the body never touched; a header section is a prefix', async () => {
  const name = fc.constantFrom('Return-Path', 'return-PATH', 'Return-Path-X', 'Subject', 'Received')
  const message = fc.tuple(fc.array(fc.tuple(name, octets(30).map((bytes) => Buffer.from(bytes.toString('latin1').replace(/[\r\n]/g, 'x'), 'latin1')), fc.boolean()), { maxLength: 6 }), octets(80))
    .map(([fields, body]) => ({
      fields: fields.map(([name, value, folded]) => ({ name, text: `${name}: ${value.toString('latin1')}\r\n${folded ? '\tReturn-Path: folded\r\n' : ''}` })),
      body: body.toString('latin1'),
    }))
  await fuzz(fc.asyncProperty(message, fc.array(fc.nat(400), { maxLength: 8 }), fc.nat(200), async ({ fields, body }, cuts, limit) => {
    const whole = Buffer.from(`${fields.map((field) => field.text).join('')}\r\n${body}`, 'latin1')
    const at = [0, ...cuts.map((cut) => cut % (whole.length + 1)).sort((a, b) => a - b), whole.length]
    const chunks = at.slice(1).map((end, i) => whole.subarray(at[i], end))
    const kept = fields.filter((field) => field.name.toLowerCase() !== 'return-path').map((field) => field.text).join('')
    assert.equal((await collect(withoutField('Return-Path', stream(chunks)))).toString('latin1'), `${kept}\r\n${body}`)
    const section = Buffer.from(await headerSection(stream(chunks), limit)).toString('latin1')
    assert.ok(section.length <= limit && whole.toString('latin1').startsWith(section) && (section === '' || section.endsWith('\r\n')))
    if (limit >= whole.length) assert.equal(section, fields.map((field) => field.text).join(''))
  }))
})
