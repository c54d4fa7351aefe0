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
  const services = ['pickup', 'cleanup', 'qmgr', 'rewrite', 'bounce', 'trace', 'verify', 'proxymap', 'smtp', 'relay', 'error', 'retry', 'discard', 'anvil', 'scache']
  const line = (name: string) => {
    const program = { rewrite: 'trivial-rewrite', relay: 'smtp', trace: 'bounce', retry: 'error' }[name] ?? name
    const type = name === 'pickup' || name === 'qmgr' ? 'unix n - n 60 1' : `unix ${['cleanup', 'qmgr'].includes(name) ? 'n' : '-'} - n - ${name === 'cleanup' ? 0 : '-'}`
    return `${name} ${type} ${program}`
  }
  writeFileSync(at('etc/master.cf'), [`${port} inet n - n - 100 smtpd`, ...services.map(line), 'defer unix - - n - 0 bounce', 'flush unix n - n 1000? 0 flush', ''].join('\n'))
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
