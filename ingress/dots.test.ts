import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createUnstuffer } from './dots.ts'

const pieces = fc.array(fc.constantFrom('\r\n', '.', '..', '\r', '\n', 'a', '\0', '.\r\n', '\r\n.', '\xff', 'text '), { maxLength: 60 })
const cuts = fc.array(fc.nat(200), { maxLength: 20 })

/** What a client sends for a body: RFC 5321 section 4.5.2, with CRLF before the dot. */
function stuffed(body: string): string {
  return `${`\r\n${body}`.replaceAll('\r\n.', '\r\n..').slice(2)}.\r\n`
}

test('however it is cut, a stuffed body comes out as it was, and what follows the dot is left', () => {
  fc.assert(fc.property(pieces, pieces, cuts, (parts, after, at) => {
    const body = `${parts.join('')}\r\n`
    const wire = Buffer.from(stuffed(body) + after.join(''), 'latin1')
    const unstuffer = createUnstuffer()
    const content: Uint8Array[] = []
    let rest: Buffer | null = null
    const bounds = [...new Set([0, ...at.filter((each) => each < wire.length), wire.length])].sort((a, b) => a - b)
    for (let i = 1; i < bounds.length; i++) {
      const chunk = wire.subarray(bounds[i - 1], bounds[i])
      if (rest) rest = Buffer.concat([rest, chunk])
      else {
        const fed = unstuffer.feed(chunk)
        content.push(...fed.content)
        rest = fed.rest
      }
    }
    assert.equal(Buffer.concat(content).toString('latin1'), body)
    assert.equal(rest?.toString('latin1'), after.join(''))
  }), { numRuns: 2000 })
})

test('nothing but CRLF . CRLF ends a message', () => {
  fc.assert(fc.property(pieces, (parts) => {
    const text = parts.join('')
    const end = `\r\n${text}`.indexOf('\r\n.\r\n')
    const { rest } = createUnstuffer().feed(Buffer.from(text, 'latin1'))
    assert.equal(rest === null ? -1 : text.length - rest.length, end < 0 ? -1 : end + 3)
  }), { numRuns: 2000 })
})
