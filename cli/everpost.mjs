#!/usr/bin/env node
// The `everpost` command: loads the compiled program, or says how to compile it.

import { existsSync } from 'node:fs'

const program = new URL('../dist/cli/main.js', import.meta.url)
if (existsSync(program)) {
  await import(program.href)
} else {
  console.error('everpost is not compiled yet. Run: npm run build')
  process.exitCode = 1
}
