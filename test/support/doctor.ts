// The doctor as a process, and what it found.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type Everpost, program } from './everpost.ts'

export interface Diagnosis {
  well: boolean
  findings: { check: string; what: string; todo: string; ids?: string[] }[]
  notes: string[]
}

/** The whole command, for running it under another one. */
export function doctorCommand(everpost: Everpost): string[] {
  return [process.execPath, program, '--config', join(everpost.folder, 'everpost.yaml'), 'doctor', '--json']
}

export async function diagnose(everpost: Everpost): Promise<Diagnosis & { code: number }> {
  const { code, stdout, stderr } = await everpost.command('doctor', '--json')
  assert.equal(stderr, '')
  const found = JSON.parse(stdout) as Diagnosis
  for (const { todo } of found.findings) assert.ok(todo.length > 20)
  return { ...found, code }
}

export function of(found: Diagnosis, check: string): Diagnosis['findings'] {
  return found.findings.filter((finding) => finding.check === check)
}
