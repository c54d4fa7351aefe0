// Exim beside us on the same machine: an instance of its own in a temporary folder, relaying all to the sink.

import { execFileSync, spawn } from 'node:child_process'
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../dev/ports.ts'
import { kill } from '../test/support/kill.ts'
import { until } from '../test/support/until.ts'
import { commandLine, pids } from './cpu.ts'

/** Debian's packages of Exim and Postfix exclude each other: EVERPOST_EXIM names the program where it was only unpacked. It wants its user, too. */
const program = process.env['EVERPOST_EXIM'] ?? '/usr/sbin/exim4'

/** Whether it is installed, and may be run: its daemon wants root. */
export const hasExim = () => existsSync(program) && process.getuid?.() === 0 && /^Debian-exim:/m.test(readFileSync('/etc/passwd', 'utf8'))

export async function startExim(sink: number): Promise<{ port: number; pid: number; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-exim-'))
  const at = (name: string) => join(folder, name)
  const port = await freePort()
  const id = (which: string) => Number(execFileSync('/usr/bin/id', [which, 'Debian-exim']))
  execFileSync('/bin/chmod', ['755', folder])
  for (const name of ['spool', 'log']) {
    mkdirSync(at(name), { mode: 0o750 })
    chownSync(at(name), id('-u'), id('-g'))
  }
  // As it is delivered, but for what would hold a benchmark up: no queue instead of a delivery after some messages or connections.
  writeFileSync(at('exim.conf'), `
exim_path = ${program}
spool_directory = ${at('spool')}
log_file_path = ${at('log')}/%slog
pid_file_path = ${at('spool')}/exim.pid
primary_hostname = exim.bench
local_interfaces = 127.0.0.1
daemon_smtp_ports = ${port}
host_lookup =
rfc1413_hosts =
tls_advertise_hosts =
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
acl_smtp_rcpt = accept

begin routers
sink:
  driver = manualroute
  route_list = * 127.0.0.1::${sink}
  self = send
  transport = remote

begin transports
remote:
  driver = smtp
  allow_localhost

begin retry
* * F,2h,15m
`)
  const daemon = spawn(program, ['-C', at('exim.conf'), '-bdf', '-q10s'], { stdio: 'ignore' })
  const gone = new Promise((resolve) => daemon.once('exit', resolve))
  const stop = async () => {
    daemon.kill('SIGTERM')
    await gone
    // Deliveries outlive the daemon.
    for (const pid of pids().filter((each) => commandLine(each).includes(folder))) kill(pid, 'SIGKILL')
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }
  await until('Exim listens', () => new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })).catch(async (error) => {
    await stop()
    throw error
  })
  return { port, pid: daemon.pid!, stop }
}
