import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { headerSection, withoutField } from './headers.ts'

async function* cut(text: string, cuts: number[]): AsyncGenerator<Uint8Array> {
  for (let from = 0, i = 0; from < text.length; i++) {
    const to = from + 1 + (cuts[i % cuts.length] ?? 1000)
    yield Buffer.from(text.slice(from, to), 'latin1')
    from = to
  }
}

async function joined(content: AsyncIterable<Uint8Array>): Promise<string> {
  let all = ''
  for await (const chunk of content) all += Buffer.from(chunk).toString('latin1')
  return all
}

test('a field goes with its folded lines, wherever the chunks are cut; the body stays', async () => {
  const field = fc.constantFrom('Return-Path: <a>\r\n', 'return-PATH:\r\n <b>\r\n\t(c)\r\n', 'Return-Pathy: x\r\n', 'Subject: y\r\n z\r\n', 'X: \xff\r\n')
  const rest = fc.constantFrom('', '\r\n', '\r\nReturn-Path: <in the body>\r\n.\r\n', 'Return-Path: <unfinished>', 'Return-Path: <unfinished>\r\n (c)', 'Return-', 'X: y\r\n z')
  await fc.assert(fc.asyncProperty(fc.array(field), rest, fc.array(fc.nat(9), { minLength: 1 }), async (fields, rest, cuts) => {
    const expected = fields.filter((text) => !/^return-path:/i.test(text)).join('') + (/^return-path:/i.test(rest) ? '' : rest)
    assert.equal(await joined(withoutField('Return-Path', cut(fields.join('') + rest, cuts))), expected)
  }))
})

test('a line that is longer than any field passes in pieces, or is dropped in pieces; none is waited for', async () => {
  const long = 'Return-Path: '.repeat(6000)
  const [before, after] = [`X: ${long}\r\n Return-Path: <folded>\r\n`, `X: ${long}`]
  for (const cuts of [[99_999], [65_535], [700]]) {
    assert.equal(await joined(withoutField('Return-Path', cut(`${before}${long}\r\n ${long}\r\n${after}`, cuts))), before + after)
  }
  let read = 0
  const endless = (async function* () { for (; read < 1000; read++) yield Buffer.alloc(1024, 120) })()
  await withoutField('Return-Path', endless).next()
  assert.ok(read < 100, `${read} KiB`)
})

test('the header section ends at the empty line, or at the limit', async () => {
  const section = async (text: string, limit = 1000) => Buffer.from(await headerSection(cut(text, [0, 3]), limit)).toString()
  assert.equal(await section('A: 1\r\nB: 2\r\n\r\nbody\r\n\r\n'), 'A: 1\r\nB: 2\r\n')
  assert.equal(await section('\r\nbody'), '')
  assert.equal(await section('A: 1\r\nB: 2\r\n'), 'A: 1\r\nB: 2\r\n')
  assert.equal(await section('A: 1\r\nB: 2\r\n\r\n', 9), 'A: 1\r\n')
  let read = 0
  const endless = (async function* () { for (; read < 1000; read++) yield Buffer.from('A: 1\r\n') })()
  assert.equal((await headerSection(endless, 100)).length, 96)
  assert.ok(read < 20, 'and nothing behind it is read')
})
