import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, test } from 'node:test'
import { needs } from '../test/support/packages.ts'
import { hashPassword } from './password.ts'
import { testIngress } from './testing.ts'

const edge = await testIngress({
  relayNetworks: ['127.0.0.1'], users: [{ name: 'alice@example.test', passwordHash: await hashPassword('wonderland') }], limits: { messageSize: '51MiB' },
})
after(edge.end)

function run(program: string, args: string[], input = ''): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(program, args, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => resolve({ code: Number(error?.code ?? 0), stdout, stderr }))
    child.stdin!.end(input)
  })
}

const script = `
import smtplib, ssl, sys
from email.message import EmailMessage
smtp, submission, submissions, lmtp = map(int, sys.argv[1:5])
insecure = ssl._create_unverified_context()
def queued(server, body, options=(), to=('r@example.test',)):
  code, text = server.mail('s@a.test', options)
  assert code == 250, text
  for each in to: assert server.rcpt(each)[0] == 250
  code, text = server.data(body)
  assert code == 250, text
  print(text.decode())
with smtplib.SMTP('127.0.0.1', smtp) as s:
  s.ehlo()
  for keyword in ('size', 'pipelining', '8bitmime', 'smtputf8', 'dsn', 'chunking', 'binarymime', 'limits', 'starttls', 'enhancedstatuscodes'): assert s.has_extn(keyword), keyword
  queued(s, b'')
  queued(s, b'.\\r\\n..\\r\\n\\xff\\xfe\\r\\n', ['BODY=8BITMIME'])
  s.starttls(context=insecure)
  s.ehlo()
  queued(s, b'Subject: large\\r\\n\\r\\n' + (b'x' * 76 + b'\\r\\n') * (50 * 1024 * 1024 // 78))
  message = EmailMessage()
  message['From'], message['To'], message['Subject'] = 's\\xe9@a.test', 'r\\xe9@example.test', 'gr\\xfc\\xdfe'
  message.set_content('gr\\xfc\\xdfe\\n', cte='8bit')
  s.send_message(message)
with smtplib.SMTP('127.0.0.1', submission) as s:
  s.starttls(context=insecure)
  s.login('alice@example.test', 'wonderland')
  assert s.mail('alice@example.test')[0] == 250
with smtplib.SMTP_SSL('127.0.0.1', submissions, context=insecure) as s:
  try:
    s.login('alice@example.test', 'queen')
    raise Exception('a wrong password was taken')
  except smtplib.SMTPAuthenticationError as error: assert error.smtp_code == 535
with smtplib.LMTP('127.0.0.1', lmtp) as s:
  refused = s.sendmail('s@a.test', ['r@example.test', 'a..b@example.test'], 'Subject: x\\r\\n\\r\\nby LMTP\\r\\n')
  assert list(refused) == ['a..b@example.test'], refused
print('done')
`

test("Python's smtplib: from 0 octets to 50 MiB, 8-bit and UTF-8, STARTTLS, AUTH, LMTP", { skip: needs('python3') }, async () => {
  const { code, stdout, stderr } = await run('python3', ['-', ...['smtp', 'submission', 'submissions', 'lmtp'].map((kind) => String(edge.port(kind)))], script)
  assert.equal(code, 0, stderr)
  const queued = stdout.match(/^2\.0\.0 Ok: queued as \w+/gm)!
  assert.deepEqual([queued.length, /done/.test(stdout)], [3, true])
  const [empty, eightBit, large] = await Promise.all(queued.map((line) => edge.stored(`250 ${line}`)))
  assert.deepEqual([empty!.body, eightBit!.body, eightBit!.message.bodyType], ['\r\n', '.\r\n..\r\n\xff\xfe\r\n', '8BITMIME'])
  assert.ok(large!.message.size > 52_000_000)
  const rows = await edge.sql<{ reversePath: string; utf8: boolean }[]>`select reverse_path as "reversePath", smtp_utf8 as utf8 from messages where smtp_utf8`
  assert.deepEqual([...rows], [{ reversePath: 'sé@a.test', utf8: true }])
})

test("Postfix's client, with many sessions and many recipients", { skip: needs('smtp-source') }, async () => {
  const before = await edge.count()
  const args = ['-s', '5', '-m', '60', '-r', '5', '-l', '10240', '-f', 's@a.test', '-t', 'r@example.test', `127.0.0.1:${edge.port('smtp')}`]
  const { code, stderr } = await run('smtp-source', args)
  assert.equal(code, 0, stderr)
  assert.equal(await edge.count() - before, 60)
  const lmtp = await run('smtp-source', ['-L', '-s', '2', '-m', '10', '-r', '3', '-f', 's@a.test', '-t', 'r@example.test', `127.0.0.1:${edge.port('lmtp')}`])
  assert.equal(lmtp.code, 0, lmtp.stderr)
  assert.equal(await edge.count() - before, 70)
})

test('swaks: DSN parameters, pipelining, and LMTP', { skip: needs('swaks') }, async () => {
  const swaks = (...args: string[]) => run('swaks', ['--server', '127.0.0.1', '--from', 's@a.test', '--to', 'r@example.test', ...args])
  for (const args of [['--port', String(edge.port('smtp')), '--pipeline'], ['--port', String(edge.port('smtp')), '--tls'], ['--port', String(edge.port('lmtp')), '--protocol', 'LMTP']]) {
    const { code, stdout } = await swaks(...args)
    assert.equal(code, 0, stdout)
    assert.match(stdout, /250 2\.0\.0 Ok: queued as/)
  }
})
