// Programs of the operating system that some tests speak with. CI installs them; elsewhere a test without its program is skipped.

import { execFileSync } from 'node:child_process'

/** The `skip` option of a test that needs these programs: false when all are here. In CI they must be. */
export function needs(...programs: string[]): string | false {
  const missing = programs.filter((program) => !isHere(program))
  if (missing.length === 0) return false
  const reason = `needs ${missing.join(', ')} (Debian: apt-get install chromium dovecot-lmtpd procmail swaks libnet-ssleay-perl postfix git-email libmailtools-perl faketime)`
  if (process.env['CI']) throw new Error(`CI may not skip a test: it ${reason}`)
  return reason
}

function isHere(program: string): boolean {
  try {
    execFileSync('/bin/sh', ['-c', 'command -v "$1"', 'sh', program], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
