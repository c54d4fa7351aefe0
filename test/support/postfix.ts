// A real Postfix as next hop, in a folder of its own, that keeps what it takes in mailbox files; and Postfix's smtp-sink, a host with faults by flags.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { connect } from 'node:net'
import { join } from 'node:path'
import { freePort } from '../../dev/ports.ts'
import { until } from './until.ts'

export interface Postfix {
  port: number
  /** What lies in the mailbox of a user of post.test, as Postfix wrote it. */
  mailbox(localPart: string): string
  stop(): Promise<void>
}

/** Why a test with Postfix cannot run here, or false: its daemons want to be started by root. */
export function withoutRoot(): string | false {
  return userInfo().uid === 0 ? false : 'Postfix wants to be started by root'
}

/** Takes mail for these users at post.test. `settings`: further lines of main.cf. */
export async function startPostfix(users: string[], settings: Record<string, string> = {}): Promise<Postfix> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-postfix-'))
  const at = (name: string) => join(folder, name)
  const port = await freePort()
  const uid = Number(execFileSync('id', ['-u', 'postfix'], { encoding: 'utf8' }))
  const gid = Number(execFileSync('id', ['-g', 'postfix'], { encoding: 'utf8' }))
  chmodSync(folder, 0o755)
  for (const name of ['etc', 'queue', 'data', 'mail']) mkdirSync(at(name))
  for (const name of ['data', 'mail']) chownSync(at(name), uid, gid)
  const main: Record<string, string> = {
    compatibility_level: '3.6', queue_directory: at('queue'), data_directory: at('data'), maillog_file: at('mail.log'), maillog_file_prefixes: folder,
    daemon_directory: '/usr/lib/postfix/sbin', command_directory: '/usr/sbin', mail_owner: 'postfix', setgid_group: 'postdrop', inet_interfaces: '127.0.0.1',
    inet_protocols: 'ipv4', myhostname: 'post.test', mydestination: '', mynetworks: '127.0.0.0/8', alias_maps: '', alias_database: '',
    smtputf8_enable: 'yes', message_size_limit: '104857600', mailbox_size_limit: '0', virtual_mailbox_limit: '0', virtual_mailbox_domains: 'post.test',
    virtual_mailbox_base: at('mail'), virtual_mailbox_maps: `texthash:${at('etc/boxes')}`, virtual_minimum_uid: '1',
    virtual_uid_maps: `static:${uid}`, virtual_gid_maps: `static:${gid}`,
    ...settings,
  }
  writeFileSync(at('etc/boxes'), users.map((user) => `${user}@post.test ${user}\n`).join(''))
  writeFileSync(at('etc/main.cf'), Object.entries(main).map(([key, value]) => `${key} = ${value}\n`).join(''))
  const services = [
    `127.0.0.1:${port} inet n - n - - smtpd`, 'pickup unix n - n 60 1 pickup', 'cleanup unix n - n - 0 cleanup', 'qmgr unix n - n 300 1 qmgr',
    'tlsmgr unix - - n 1000? 1 tlsmgr', 'rewrite unix - - n - - trivial-rewrite', 'bounce unix - - n - 0 bounce', 'defer unix - - n - 0 bounce',
    'trace unix - - n - 0 bounce', 'verify unix - - n - 1 verify', 'flush unix n - n 1000? 0 flush', 'proxymap unix - - n - - proxymap',
    'smtp unix - - n - - smtp', 'relay unix - - n - - smtp', 'showq unix n - n - - showq', 'error unix - - n - - error', 'retry unix - - n - - error',
    'discard unix - - n - - discard', 'local unix - n n - - local', 'virtual unix - n n - - virtual', 'lmtp unix - - n - - lmtp', 'anvil unix - - n - 1 anvil',
    'scache unix - - n - 1 scache', 'postlog unix-dgram n - n - 1 postlogd',
  ]
  writeFileSync(at('etc/master.cf'), `${services.join('\n')}\n`)
  execFileSync('postfix', ['-c', at('etc'), 'start'], { stdio: 'ignore' })
  const pid = Number(readFileSync(at('queue/pid/master.pid'), 'utf8'))
  const stop = async () => {
    process.kill(pid)
    await until('Postfix has ended', () => !isAlive(pid), 20_000)
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await until('Postfix listens', () => answers(port), 20_000)
  } catch (error) {
    await stop()
    throw error
  }
  return {
    port,
    stop,
    mailbox: (localPart) => (existsSync(join(folder, 'mail', localPart)) ? readFileSync(join(folder, 'mail', localPart), 'latin1') : ''),
  }
}

/** smtp-sink with these flags, such as `-r MAIL` (soft refusal) or `-q DATA` (hangs up). */
export async function startSmtpSink(...flags: string[]): Promise<{ port: number; stop(): Promise<void> }> {
  const port = await freePort()
  const user = userInfo().uid === 0 ? ['-u', 'postfix'] : []
  const child: ChildProcess = spawn('smtp-sink', [...user, ...flags, `127.0.0.1:${port}`, '100'], { stdio: 'ignore' })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  await until('smtp-sink listens', () => answers(port), 10_000)
  return {
    port,
    async stop() {
      child.kill()
      await exited
    },
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.end())
    socket.once('data', () => resolve(true)).once('error', () => resolve(false)).once('close', () => resolve(false))
  })
}
