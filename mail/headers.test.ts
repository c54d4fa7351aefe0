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
  const body = fc.constantFrom('', '\r\n', '\r\nReturn-Path: <in the body>\r\n.\r\n')
  await fc.assert(fc.asyncProperty(fc.array(field), body, fc.array(fc.nat(9), { minLength: 1 }), async (fields, body, cuts) => {
    const expected = fields.filter((text) => !/^return-path:/i.test(text)).join('') + body
    assert.equal(await joined(withoutField('Return-Path', cut(fields.join('') + body, cuts))), expected)
  }))
})

test('the header section ends at the empty line, or at the limit', async () => {
  const section = async (text: string, limit = 1000) => Buffer.from(await headerSection(cut(text, [0, 3]), limit)).toString()
  assert.equal(await section('A: 1\r\nB: 2\r\n\r\nbody\r\n\r\n'), 'A: 1\r\nB: 2\r\n')
  assert.equal(await section('\r\nbody'), '')
  assert.equal(await section('A: 1\r\nB: 2\r\n'), 'A: 1\r\nB: 2\r\n')
  assert.equal(await section('A: 1\r\nB: 2\r\n\r\n', 9), 'A: 1\r\n')
})
