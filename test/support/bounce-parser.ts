// Independent readers of reports: flufl.bounce, which Mailman uses, in a Python environment kept in the cache; and Python's own
// email package. A test skips without Python or PyPI, except in CI.

import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { cacheFolder } from '../../dev/download.ts'

const version = '6.0.0'

export interface Bounces {
  /** Addresses that fail for now, and for good; sorted. */
  temporary: string[]
  permanent: string[]
}

/** The reader, or why there is none. */
export async function bounceParser(): Promise<((report: Uint8Array) => Bounces) | string> {
  const folder = join(cacheFolder(), `flufl.bounce-${version}`)
  const python = join(folder, 'bin', 'python')
  try {
    if (!existsSync(join(folder, 'ready'))) {
      mkdirSync(cacheFolder(), { recursive: true })
      await promisify(execFile)('python3', ['-m', 'venv', '--clear', folder])
      await promisify(execFile)(python, ['-m', 'pip', 'install', '-q', '--only-binary', ':all:', `flufl.bounce==${version}`, 'atpublic==9.0.0'])
      mkdirSync(join(folder, 'ready'))
    }
  } catch (error) {
    const reason = `flufl.bounce cannot be installed from PyPI (Debian: apt-get install python3-venv): ${(error as Error).message}`
    if (process.env['CI']) throw new Error(`CI may not skip a test: ${reason}`)
    return reason
  }
  return (report) => run(python, parse, report) as Bounces
}

const parse = `
import sys, json, email
from flufl.bounce import all_failures
temporary, permanent = all_failures(email.message_from_bytes(sys.stdin.buffer.read()))
show = lambda addresses: sorted(address.decode('utf8') for address in addresses)
print(json.dumps({'temporary': show(temporary), 'permanent': show(permanent)}))`

export interface ParsedReport {
  type: string
  report: string
  headers: Record<string, string>
  types: string[]
  encodings: (string | null)[]
  text: string
  /** Fields of the message, then of each recipient. */
  groups: Record<string, string>[]
  /** The returned part: its text where it is text, else the fields and the body of the message in it. */
  returned: string
  defects: string[]
}

const read = `
import sys, json, re, email, email.policy
policy = email.policy.default
octets = sys.stdin.buffer.read()
m = email.message_from_bytes(octets, policy=policy)
parts = list(m.iter_parts())
inner = octets.split(b'--' + m.get_boundary().encode())
body = lambda i: inner[i].split(b'\\r\\n\\r\\n', 1)[1]
group = lambda text: {k: ' '.join(v.split()) for k, v in (line.split(':', 1) for line in re.sub('\\r\\n[ \\t]+', ' ', text).split('\\r\\n') if line)}
groups = [group(g) for g in body(2).decode('utf8').strip().split('\\r\\n\\r\\n')]
last = parts[2]
returned = last.get_payload(decode=True) if last.get_content_type() == 'text/rfc822-headers' else body(3)
print(json.dumps({'type': m.get_content_type(), 'report': m.get_param('report-type'), 'headers': {k: str(v) for k, v in m.items()},
  'types': [p.get_content_type() for p in parts], 'encodings': [p['Content-Transfer-Encoding'] for p in parts], 'text': parts[0].get_content(),
  'groups': groups, 'returned': returned.decode('latin-1'), 'defects': [str(d) for p in m.walk() for d in p.defects]}))`

/** Reads a report with CRLF line ends by Python's email package; throws what Python complains of. */
export function readReport(report: Uint8Array): ParsedReport {
  return run('python3', read, report) as ParsedReport
}

function run(python: string, program: string, input: Uint8Array): unknown {
  const { stdout, stderr, status } = spawnSync(python, ['-c', program], { input })
  if (status !== 0 || stderr.length > 0) throw new Error(stderr.toString())
  return JSON.parse(stdout.toString())
}
