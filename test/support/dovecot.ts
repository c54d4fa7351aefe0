// A real Dovecot that takes mail by LMTP, for the users it is told of.

import { spawn } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:net'
import { freePort } from '../../dev/ports.ts'
import { until } from './until.ts'

export interface Dovecot {
  port: number
  /** The path of its Unix socket. */
  socket: string
  /** What lies in the inbox of a user. */
  inbox(localPart: string): string[]
  stop(): Promise<void>
}

/** Starts it; as root it needs the users dovecot and dovenull, which its Debian package makes. */
export async function startDovecot(users: string[]): Promise<Dovecot> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-dovecot-'))
  const port = await freePort()
  const me = userInfo()
  const [uid, gid] = me.uid === 0 ? [65534, 65534] : [me.uid, me.gid]
  const at = (name: string) => join(folder, name)
  mkdirSync(at('mail'))
  chmodSync(folder, 0o755)
  chownSync(at('mail'), uid, gid)
  writeFileSync(at('users'), users.map((user) => `${user}::${uid}:${gid}::${at('mail')}::\n`).join(''))
  writeFileSync(at('dovecot.conf'), [
    `base_dir = ${at('run')}`, `log_path = ${at('log')}`, 'protocols = lmtp', 'ssl = no', `mail_location = maildir:${at('mail')}/%n`,
    'first_valid_uid = 1', `default_internal_user = ${me.uid === 0 ? 'dovecot' : me.username}`, `default_login_user = ${me.uid === 0 ? 'dovenull' : me.username}`,
    `passdb {\n driver = passwd-file\n args = ${at('users')}\n}`,
    `userdb {\n driver = passwd-file\n args = ${at('users')}\n}`,
    `service lmtp {\n inet_listener lmtp {\n address = 127.0.0.1\n port = ${port}\n }\n unix_listener ${at('lmtp')} {\n mode = 0666\n }\n}`, '',
  ].join('\n'))
  const child = spawn('dovecot', ['-F', '-c', at('dovecot.conf')], { stdio: 'ignore' })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  await until('Dovecot listens', () => answers(port), 20_000)
  return {
    port,
    socket: at('lmtp'),
    inbox(localPart) {
      const box = join(folder, 'mail', localPart, 'new')
      return readdirSync(box).map((file) => readFileSync(join(box, file), 'latin1'))
    },
    async stop() {
      child.kill()
      await exited
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false))
    socket.on('close', () => resolve(false)).on('connect', () => socket.end())
  })
}
