import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startPeer } from '../smtp/testing.ts'
import { readActions } from '../store/actions.ts'
import { readRecipients } from '../store/recipients.ts'
import { prepareEverpost } from './support/everpost.ts'
import { until } from './support/until.ts'

test('the page shows queue, message and destinations to whoever has logged in, acts for those who may, and for no other site', async () => {
  const script = { rcpt: { 'gone@partner.test': '550 5.1.1 no <script>alert(1)</script>', '*': '451 4.7.1 <b>later</b> & "later"' } as Record<string, string> }
  const peer = await startPeer(script)
  const hop = `[127.0.0.1]:${peer.port}`
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '1h' }, routes: [{ domain: 'partner.test', nextHop: hop }] })
  let cookie = ''
  const ask = async (path: string, form?: Record<string, string>, more: Record<string, string> = { 'sec-fetch-site': 'same-origin' }) => {
    const answer = await fetch(`http://127.0.0.1:${everpost.ports['http']}${path}`, {
      redirect: 'manual', headers: { cookie, ...more }, ...(form ? { method: 'POST', body: new URLSearchParams(form) } : {}),
    })
    return { status: answer.status, to: answer.headers.get('location') ?? '', headers: answer.headers, text: await answer.text() }
  }
  const logIn = async (token: string) => {
    const { status, headers } = await ask('/login', { token })
    cookie = /^[^;]*/.exec(headers.get('set-cookie') ?? '')![0]
    return { status, set: headers.get('set-cookie') ?? '' }
  }
  try {
    await everpost.start()
    const tokens = await Promise.all([['read'], ['read', 'control']].map((scopes, i) => everpost.command('token', 'create', `t${i}`, '--scope', ...scopes)))
    const [reader, operator] = tokens.map(({ stdout }) => stdout.trim()) as [string, string]
    const id = await everpost.send(['x@partner.test', 'gone@partner.test'], 'a@example.test')
    await until('deferred', async () => (await readRecipients(everpost.sql, id, 2)).every(({ state, outcome }) => outcome && state !== 'bouncing'))

    for (const path of ['/', `/messages/${id}`, '/destinations']) assert.deepEqual([(await ask(path)).status, (await ask(path)).to], [303, '/login'])
    assert.equal((await ask(`/messages/${id}/actions`, { action: 'drop' })).to, '/login')
    assert.deepEqual([(await logIn('evp_wrong')).status, (await ask('/login')).status], [403, 200])
    const { status, set } = await logIn(reader)
    assert.equal(status, 303)
    assert.match(set, /HttpOnly; SameSite=Strict/i)

    const queue = await ask('/?sender=a@*&status=deferred&sort=newest&reply=LATER')
    assert.match(queue.text, new RegExp(`<a href="/messages/${id}">`))
    assert.match(queue.text, /451 4\.7\.1 &lt;b&gt;later&lt;\/b&gt; &amp; &quot;later&quot;/)
    assert.doesNotMatch(queue.text + (await ask(`/messages/${id}`)).text, /<b>later|<script/)
    assert.match(queue.headers.get('content-security-policy')!, /default-src 'none'/)
    assert.doesNotMatch((await ask('/?domain=other.test')).text, /\/messages\//)
    assert.match((await ask(`/?sender=${encodeURIComponent('"><i>')}`)).text, /value="&quot;&gt;&lt;i&gt;"/)
    assert.doesNotMatch((await ask(`/messages/${id}`)).text, /value="hold"/)
    assert.equal((await ask(`/messages/${id}/actions`, { action: 'hold' })).status, 403)
    assert.equal((await ask('/messages/000000000000000000')).status, 404)

    await logIn(operator)
    assert.equal((await ask(`/messages/${id}/actions`, { action: 'hold' }, { 'sec-fetch-site': 'cross-site', origin: 'https://elsewhere.test' })).status, 403)
    assert.equal((await readActions(everpost.sql, id)).length, 0)
    const held = await ask(`/messages/${id}/actions`, { action: 'hold', why: 'look at <it>' })
    assert.equal(held.to, `/messages/${id}?told=Done%3A+hold`)
    const shown = (await ask(held.to)).text
    assert.match(shown, /Done: hold/)
    assert.match(shown, /on hold since[\s\S]*attempt 1 to[\s\S]*hold by token:t1: look at &lt;it&gt;/)
    assert.match((await ask(`/messages/${id}/actions`, { action: 'hold' })).to, /Refused%3A\+it\+is\+on\+hold\+already/)
    assert.match((await ask(`/messages/${id}/actions`, { action: 'set-lifetime', hours: 'x' })).to, /Refused%3A\+a\+queue\+lifetime/)
    assert.match((await ask(`/messages/${id}/actions`, { action: 'reroute', to: '[x' })).to, /Refused/)
    script.rcpt = {}
    assert.match((await ask(`/messages/${id}/actions`, { action: 'release' })).to, /Done/)
    assert.match((await ask(`/messages/${id}/actions`, { action: 'replay', why: 'it is there now' })).to, /Queued\+again%3A\+gone%40partner\.test/)
    assert.deepEqual(await everpost.states(id), ['delivered', 'delivered'])

    // Traffic is counted once a second.
    await until('the destination is listed', async () => (await ask('/destinations')).text.includes(hop))
    await ask('/destinations', { name: hop, action: 'suspend' })
    assert.match((await ask('/destinations')).text, /suspended until .* by token:t1/)
    await ask('/destinations', { name: hop, action: 'resume' })
    assert.doesNotMatch((await ask('/destinations')).text, /suspended until/)
    assert.match((await ask('/logout', {})).headers.get('set-cookie')!, /Max-Age=0/)
  } finally {
    await everpost.end()
    await peer.close()
  }
})
