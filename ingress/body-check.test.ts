import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type BodyCheckOptions, createBodyCheck } from './body-check.ts'

function check(text: string, cuts: number[], options: Partial<BodyCheckOptions> = {}) {
  const body = createBodyCheck({ binary: false, lineLength: 0, ...options })
  for (let from = 0, i = 0; from < text.length; i++) {
    const to = from + 1 + cuts[i % cuts.length]!
    body.feed(Buffer.from(text.slice(from, to), 'latin1'))
    from = to
  }
  body.end()
  return { size: body.size(), hops: body.hops(), eightBit: body.eightBit(), isFaulty: body.fault() !== null }
}

test('however it is cut, a message is found to hold what a look at the whole finds', () => {
  const field = fc.constantFrom('Received: by x\r\n', 'rEceived:\r\n', 'Received', ': x\r\n', 'X-Received: y\r\n', 'Subject: x\r\n', ' Received: folded\r\n')
  const other = fc.constantFrom('\r\n', '\r\n', 'a', '\xff', '\r', '\n', '\0', 'x'.repeat(20))
  const text = fc.tuple(fc.array(field, { maxLength: 6 }), fc.array(other, { maxLength: 8 }), fc.array(field, { maxLength: 2 })).map((parts) => parts.flat().join(''))
  const lineLength = 22
  fc.assert(fc.property(text, fc.array(fc.nat(9), { minLength: 1 }), fc.boolean(), (text, cuts, binary) => {
    const header = text.split('\n').slice(0, -1)
    const end = header.findIndex((line) => line === '' || line === '\r')
    const wrong = /\0|\r(?!\n)|(?<!\r)\n/.test(text) || text.split('\r\n').some((line) => line.length > lineLength)
    assert.deepEqual(check(text, cuts, { binary, lineLength }), {
      size: text.length, hops: (end < 0 ? header : header.slice(0, end)).filter((line) => /^received:/i.test(line)).length,
      eightBit: text.includes('\xff'), isFaulty: wrong && !binary,
    })
  }), { numRuns: 3000 })
})

test('a header section is looked at for its first mebibyte', () => {
  const long = `X: ${'x'.repeat(1024)}\r\n`
  assert.equal(check(`${long.repeat(900)}Received: x\r\n`, [65_535]).hops, 1)
  assert.equal(check(`${long.repeat(1200)}Received: x\r\n`, [65_535]).hops, 0)
})
