import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ensureCertificate } from '../dev/certificate.ts'
import { hashPassword } from '../ingress/password.ts'
import { prepareEverpost } from './support/everpost.ts'
import { needs } from './support/packages.ts'

const folder = mkdtempSync(join(tmpdir(), 'everpost-submission-'))
const everpost = await prepareEverpost({
  listeners: (['smtp', 'submission', 'submissions'] as const).map((kind) => ({ kind, address: '127.0.0.1', port: 0 })),
  tls: await ensureCertificate(folder, 'mx.example.test'),
  users: [{ name: 'alice@example.test', passwordHash: await hashPassword('wonderland') }],
})
after(async () => {
  await everpost.end()
  rmSync(folder, { recursive: true, force: true })
})
await everpost.start()

const cases = [['submission', []], ['submissions', ['--implicit-tls']]] as const

for (const [kind, flags] of cases) {
  test(`everpost send over ${kind}: accepted with AUTH under TLS, refused with a wrong password or an unknown certificate`, async () => {
    const send = (...more: string[]) =>
      everpost.command('send', '--to', 'carol@example.test', '--user', 'alice@example.test', '--server', `127.0.0.1:${everpost.ports[kind]}`, ...flags, ...more)
    const sent = await send('--password', 'wonderland', '--insecure', '--subject', kind)
    const id = /^250 2\.0\.0 Ok: queued as (\w+)\n$/.exec(sent.stdout)![1]!
    assert.deepEqual(await everpost.states(id), ['delivered'])
    const mail = everpost.maildir('carol').find((text) => text.includes(`Subject: ${kind}\n`))!
    assert.match(mail, /with ESMTPSA id /)
    assert.match(mail, /\(using TLSv1\.3 with cipher TLS_AES_\w+\)/)

    const wrong = await send('--password', 'queen', '--insecure')
    assert.deepEqual([wrong.code, /535 5\.7\.8/.test(wrong.stderr)], [77, true])
    const unverified = await send('--password', 'wonderland')
    assert.deepEqual([unverified.code, /self-signed certificate.*--insecure/.test(unverified.stderr)], [69, true])
  })

  test(`swaks over ${kind}`, { skip: needs('swaks') }, async () => {
    const tls = kind === 'submission' ? '--tls' : '--tls-on-connect'
    const args = ['--server', '127.0.0.1', '--port', String(everpost.ports[kind]), tls, '--auth', 'PLAIN', '--auth-user', 'alice@example.test']
    const swaks = (password: string) => new Promise<{ code: number; stdout: string }>((resolve) => {
      execFile('swaks', [...args, '--auth-password', password, '--from', 'alice@example.test', '--to', 'dave@example.test'], (error, stdout) => {
        resolve({ code: Number(error?.code ?? 0), stdout })
      })
    })
    const { code, stdout } = await swaks('wonderland')
    assert.equal(code, 0, stdout)
    const id = /250 2\.0\.0 Ok: queued as (\w+)/.exec(stdout)![1]!
    assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal((await swaks('queen')).code, 28) // swaks' code for a failed AUTH
  })
}

test('everpost send refuses what is no address and a file that cannot be read, and says how the server would be spoken to', async () => {
  const send = (...more: string[]) => everpost.command('send', '--user', 'alice@example.test', '--password', 'wonderland', '--insecure', ...more)
  const at = (kind: string) => ['--to', 'carol@example.test', '--server', `127.0.0.1:${everpost.ports[kind]}`]
  for (const [more, code, told] of [
    [[...at('submission'), '--from', 'not an address'], 64, /--from not an address: the address is not well formed/],
    [[...at('submission'), '--from', '<>'], 64, /--from <>: /],
    [[...at('submission'), '--to', 'a b@example.test'], 64, /--to a b@example\.test: the address is not well formed/],
    [[...at('submission'), '--to', 'a@b.test>,<c@d.test'], 64, /--to .*: write an address alone/],
    [[...at('submission'), '--file', join(folder, 'missing')], 66, /^everpost: --file .*missing cannot be read \(ENOENT\)\n$/],
    [[...at('submission'), '--file', folder], 66, /^everpost: --file .* cannot be read \(EISDIR\)\n$/],
    [[...at('submission'), '--from', 'queen@example.test'], 65, /the server refused: 553 /],
    [[...at('submission'), '--implicit-tls'], 69, /does not speak TLS from the start\. Try without --implicit-tls\.\n$/],
    [at('submissions'), 69, /does not greet\. .* try --implicit-tls\.\n$/],
    [['--to', 'carol@example.test', '--server', '127.0.0.1:1'], 69, /^everpost: nothing listens on 127\.0\.0\.1:1\.\n$/],
  ] as const) {
    const { code: ended, stderr, stdout } = await send(...more)
    assert.match(stderr, told)
    assert.deepEqual([ended, stdout], [code, ''])
  }
  const { code, stderr } = await everpost.command('send', '--to', 'carol@example.test')
  assert.deepEqual([code, /submission needs a user: .*Start it with: npm start\n$/.test(stderr)], [64, true], stderr)
})
