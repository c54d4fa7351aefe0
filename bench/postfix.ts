// Postfix beside us on the same machine: an instance of its own in a temporary folder, relaying all to the sink.

import { execFileSync } from 'node:child_process'
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../dev/ports.ts'

const command = '/usr/sbin/postfix'

/** Whether it is installed, and may be run: its master wants root. */
export const hasPostfix = () => existsSync(command) && process.getuid?.() === 0

export async function startPostfix(sink: number): Promise<{ port: number; pid: number; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-postfix-'))
  const at = (name: string) => join(folder, name)
  const port = await freePort()
  for (const name of ['etc', 'queue', 'data']) mkdirSync(at(name), { mode: 0o755 })
  execFileSync('/bin/chmod', ['755', folder])
  chownSync(at('data'), Number(execFileSync('/usr/bin/id', ['-u', 'postfix'])), -1)
  // As Debian's master.cf has them, without chroot: service, private, wake-up, process limit, program.
  const services = [
    'pickup n 60 1 pickup', 'cleanup n - 0 cleanup', 'qmgr n 300 1 qmgr', 'rewrite - - - trivial-rewrite', 'bounce - - 0 bounce', 'defer - - 0 bounce', 'trace - - 0 bounce',
    'verify - - 1 verify', 'flush n 1000? 0 flush', 'proxymap - - - proxymap', 'smtp - - - smtp', 'relay - - - smtp', 'error - - - error', 'retry - - - error', 'discard - - - discard',
    'anvil - - 1 anvil', 'scache - - 1 scache',
  ].map((line) => line.split(' ')).map(([name, isPrivate, wakeUp, limit, program]) => `${name} unix ${isPrivate} - n ${wakeUp} ${limit} ${program}`)
  writeFileSync(at('etc/master.cf'), [`${port} inet n - n - 100 smtpd`, ...services, ''].join('\n'))
  writeFileSync(at('etc/main.cf'), [
    'compatibility_level = 3.6', 'myhostname = postfix.bench', 'mydestination =', 'inet_interfaces = 127.0.0.1', 'inet_protocols = ipv4', 'mynetworks = 127.0.0.0/8',
    `queue_directory = ${at('queue')}`, `data_directory = ${at('data')}`, `relayhost = [127.0.0.1]:${sink}`, 'alias_maps =', 'alias_database =', 'maillog_file =', 'syslog_name = everpost-bench',
    'smtpd_peername_lookup = no', 'disable_dns_lookups = yes', 'default_destination_concurrency_limit = 20', 'smtpd_recipient_restrictions = permit_mynetworks, reject', '',
  ].join('\n'))
  execFileSync(command, ['-c', at('etc'), 'start'], { stdio: 'ignore' })
  return {
    port, pid: Number(readFileSync(at('queue/pid/master.pid'), 'utf8')),
    async stop() {
      execFileSync(command, ['-c', at('etc'), 'stop'], { stdio: 'ignore' })
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
