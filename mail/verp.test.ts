import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePath } from './address.ts'
import type { Envelope } from './envelope.ts'
import { verpPath, withVerp } from './verp.ts'

test('the recipient stands between the owner and the origin, quoted where it must be', () => {
  for (const [from, to, delimiters, path] of [
    ['owner@lists.test', 'user@partner.test', '+=', 'owner+user=partner.test@lists.test'],
    ['owner-news@lists.test', 'a+b@partner.test', '-=', 'owner-news-a+b=partner.test@lists.test'],
    ['owner@lists.test', '"a b"@partner.test', '+=', '"owner+a b=partner.test"@lists.test'],
    ['"o\\"wner"@lists.test', 'x@[127.0.0.1]', '+=', '"o\\"wner+x=[127.0.0.1]"@lists.test'],
    ['owner@lists.test', '"a\\\\b"@partner.test', '+=', '"owner+a\\\\b=partner.test"@lists.test'],
    ['owner@lists.test', 'jürgen@bücher.test', '+=', 'owner+jürgen=bücher.test@lists.test'],
  ] as const) {
    assert.equal(verpPath(from, to, delimiters), path)
    assert.deepEqual(parsePath(`<${path}>`), { address: path, rest: '' })
  }
})

const envelope = (change: Partial<Envelope>): Envelope => ({
  reversePath: 'owner@lists.test',
  recipients: [{ n: 0, forwardPath: 'ann@home.test', notify: [], orcpt: 'rfc822;team+2Ba@home.test' }, { n: 1, forwardPath: 'x@partner.test', notify: [], orcpt: null }],
  body: '7BIT', smtpUtf8: false, requireTls: false, ret: null, envid: null, ...change,
})
const paths = (change: Partial<Envelope>, senders: string[] = []) => withVerp(envelope(change), { delimiters: '+=', senders }).recipients.map(({ verp }) => verp)

test('by the word of the client or of the settings, with the address that the sender knows; never for the null reverse-path', () => {
  assert.deepEqual(paths({}), [undefined, undefined])
  assert.deepEqual(paths({ verp: '-=' }, ['*']), ['owner-team+a=home.test@lists.test', 'owner-x=partner.test@lists.test'])
  for (const pattern of ['owner@lists.test', 'lists.test', '*']) assert.equal(paths({}, [pattern])[1], 'owner+x=partner.test@lists.test', pattern)
  for (const pattern of ['other@lists.test', '*.lists.test', 'partner.test']) assert.equal(paths({}, [pattern])[1], undefined, pattern)
  assert.deepEqual(paths({ reversePath: '', verp: '+=' }, ['*']), [undefined, undefined])
})

test('an ORCPT that is no address names nobody: the forward-path does', () => {
  for (const orcpt of ['a+0D+0AX:+20y@b.test', 'a+00@b.test', 'a@b.test>+20x', 'a', '+3E', 'a@b+20c.test', 'j+C3+BC@b.test', 'a+FF@b.test']) {
    const recipients = [{ n: 0, forwardPath: 'ann@home.test', notify: [], orcpt: `rfc822;${orcpt}` }]
    assert.deepEqual(paths({ recipients, verp: '+=' }), ['owner+ann=home.test@lists.test'], orcpt)
  }
})
