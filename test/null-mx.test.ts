import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startDnsServer } from '../smtp/testing-dns.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('null MX and NXDOMAIN bounce at once, with the codes of RFC 7505 and 3463; SERVFAIL waits until DNS answers', async () => {
  const dns = await startDnsServer({ 'null.test/MX': [{ preference: 0, exchange: '.' }], 'broken.test/MX': 'SERVFAIL' })
  const everpost = await prepareEverpost({ dns: { servers: [dns.server] } })
  try {
    await everpost.start()
    const id = await everpost.send(['a@null.test', 'b@gone.test', 'c@broken.test'], 'bob@example.test')
    assert.deepEqual(await everpost.states(id, (states) => states[0] === 'bounced' && states[1] === 'bounced'), ['bounced', 'bounced', 'queued'])
    const [report] = await until('the report arrives', () => everpost.maildir('bob')[0] && everpost.maildir('bob'))
    assert.match(report!, /Final-Recipient: rfc822; a@null\.test\nAction: failed\nStatus: 5\.1\.10\n/)
    assert.match(report!, /Final-Recipient: rfc822; b@gone\.test\nAction: failed\nStatus: 5\.1\.2\n/)
    assert.doesNotMatch(report!, /c@broken\.test/)

    await until('the failure of DNS counts as an attempt', async () => (await readRecipients(everpost.sql, id, 3))[2]!.attempts >= 1)
    dns.zone['broken.test/MX'] = [{ preference: 0, exchange: '.' }]
    assert.deepEqual(await everpost.states(id), ['bounced', 'bounced', 'bounced'])
  } finally {
    await everpost.end()
    await dns.close()
  }
})
