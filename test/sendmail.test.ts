import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { freePort } from '../dev/ports.ts'
import { prepareEverpost } from './support/everpost.ts'
import { needs } from './support/packages.ts'
import { until } from './support/until.ts'

const port = await freePort()
const everpost = await prepareEverpost({ listeners: [{ kind: 'smtp', address: '127.0.0.1', port }] })
const folder = mkdtempSync(join(tmpdir(), 'everpost-sendmail-'))
after(async () => {
  await everpost.end()
  rmSync(folder, { recursive: true, force: true })
})
await everpost.start()

/** As distributions install it: a program of one path, that git and PHP can be told of. */
const program = join(folder, 'sendmail')
const everpostProgram = fileURLToPath(new URL('../../cli/everpost.mjs', import.meta.url))
writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${everpostProgram} --config ${everpost.folder}/everpost.yaml sendmail "$@"\n`)
chmodSync(program, 0o755)

async function sendmail(words: string[], input: string): Promise<{ code: number; stderr: string; stdout: string }> {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'pipe'] })
  child.stdin.on('error', () => {}).end(Buffer.from(input, 'latin1'))
  const ended = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 1)))
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: await ended, stdout, stderr }
}
const arrived = (name: string, count = 1) => until(`mail for ${name}`, () => everpost.maildir(name).length >= count && everpost.maildir(name))

test('-t -i as PHP does it: recipients from the message, Bcc removed, a lone dot kept, missing fields added', async () => {
  const { code, stderr } = await sendmail(['-t', '-i', '-fweb@example.test'], 'To: One <one@example.test>,\n two@example.test\nBcc: three@example.test\nSubject: \xc3\xa9\n\nbody\n.\nmore\n')
  assert.deepEqual([code, stderr], [0, ''])
  for (const name of ['one', 'two', 'three']) {
    const [mail] = await arrived(name)
    assert.match(mail!, /^Return-Path: <web@example\.test>\n/)
    assert.match(mail!, /\nDate: .*\nMessage-ID: <[^>]+>\n/s)
    assert.match(mail!, /\nFrom: <web@example\.test>\n|^From: <web@example\.test>\n/m)
    assert.doesNotMatch(mail!, /bcc/i)
    assert.match(mail!, /\n\nbody\n\.\nmore\n$/)
  }
})

test('as cron does it: flags of all kinds, a local name, From with a full name', async () => {
  const { code, stderr } = await sendmail(['-FCronDaemon', '-i', '-B8BITMIME', '-oem', '-odi', 'root'], 'From: root\nTo: root\nSubject: Cron\n\nout\n')
  assert.deepEqual([code, stderr], [0, ''])
  assert.match((await arrived('root'))[0]!, /\nSubject: Cron\n/)
})

test('without -i a lone dot ends the message', async () => {
  assert.equal((await sendmail(['-f', 'a@example.test', 'dots@example.test'], 'Subject: x\n\nkept\n.\nlost\n')).code, 0)
  assert.match((await arrived('dots'))[0]!, /\n\nkept\n$/)
})

test('-bs: the caller speaks SMTP', async () => {
  const child = spawn(program, ['-bs'], { stdio: ['pipe', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => { said += chunk.toString() })
  const exchanges = [
    ['', '220'], ['EHLO c', 'ENHANCED'], ['MAIL FROM:<a@example.test>', '2.1.0'], ['RCPT TO:<bs@example.test>', '2.1.5'],
    ['DATA', '354'], ['Subject: x\r\n\r\nby bs\r\n.', 'queued'], ['QUIT', '221'],
  ] as const
  for (const [line, reply] of exchanges) {
    if (line !== '') child.stdin.write(`${line}\r\n`)
    await until(`${reply} after ${line}`, () => said.includes(reply))
  }
  child.stdin.end()
  await until('it ends', () => child.exitCode !== null)
  assert.equal(child.exitCode, 0)
  assert.match((await arrived('bs'))[0]!, /by bs/)
})

test('exit codes of sysexits.h: nobody to send to, refused, no listener', async () => {
  assert.equal((await sendmail(['-t'], 'Subject: x\n\n')).code, 64)
  const refused = await sendmail(['-i', 'x@[300.1.1.1]'], 'Subject: x\n\n')
  assert.deepEqual([refused.code, /501 5\.1\.3/.test(refused.stderr)], [65, true])
  const config = join(folder, 'away.yaml')
  writeFileSync(config, `listeners: [{ kind: smtp, port: ${await freePort()} }]\n`)
  const away = await new Promise<number>((resolve) => {
    execFile(process.execPath, [everpostProgram, '-c', config, 'sendmail', 'x@example.test'], (error) => resolve(Number(error?.code ?? 0))).stdin!.end('x\n')
  })
  assert.equal(away, 75)
})

test('a program that is called sendmail is sendmail', async () => {
  const named = mkdtempSync(join(folder, 'named-'))
  symlinkSync(everpostProgram, join(named, 'sendmail'))
  writeFileSync(join(named, 'everpost.yaml'), `listeners: [{ kind: smtp, port: ${port} }]\nlocalDomains: { example.test: { deliver: maildir, path: ./x } }\n`)
  const code = await new Promise<number>((resolve) => {
    execFile(process.execPath, [join(named, 'sendmail'), '-i', 'linked@example.test'], { cwd: named }, (error) => resolve(Number(error?.code ?? 0))).stdin!.end('Subject: linked\n\n')
  })
  assert.equal(code, 0)
  await arrived('linked')
})

test('git send-email hands its patches over', { skip: needs('/usr/lib/git-core/git-send-email') }, async () => {
  const patch = join(folder, 'patch')
  writeFileSync(patch, 'From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: A <a@example.test>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\nSubject: [PATCH] x\n\n---\n')
  const { code, stderr } = await new Promise<{ code: number; stderr: string }>((resolve) => {
    const args = ['send-email', '--confirm=never', '--quiet', `--smtp-server=${program}`, '--from=a@example.test', '--to=git@example.test', patch]
    const name = { GIT_COMMITTER_NAME: 'A', GIT_COMMITTER_EMAIL: 'a@example.test', GIT_AUTHOR_NAME: 'A', GIT_AUTHOR_EMAIL: 'a@example.test' }
    execFile('git', args, { env: { ...process.env, HOME: folder, ...name } }, (error, _, stderr) => resolve({ code: Number(error?.code ?? 0), stderr }))
  })
  assert.equal(code, 0, stderr)
  assert.match((await arrived('git'))[0]!, /\nSubject: \[PATCH\] x\n/)
})
