import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { prepareEverpost } from './support/everpost.ts'

const tool = process.env['SCHEMATHESIS'] ?? 'schemathesis'
const missing = spawnSync(tool, ['--version']).error !== undefined

if (missing && process.env['CI']) throw new Error('CI may not skip this test: install schemathesis')

test('the API keeps what its OpenAPI document says, whatever schemathesis sends it', {
  skip: missing && 'schemathesis is not installed: pip install schemathesis==4.32.5, on PATH or named by SCHEMATHESIS',
}, async () => {
  const everpost = await prepareEverpost({ routes: [{ domain: '*', nextHop: '[127.0.0.1]:1' }], retry: { minimalBackoffTime: '1h' } })
  try {
    await everpost.start()
    writeFileSync(join(everpost.folder, 'hooks.py'), [
      'import schemathesis', '@schemathesis.serializer("message/rfc822")', 'def message(context, value):',
      '    return value if isinstance(value, bytes) else str(value).encode()', '',
    ].join('\n'))
    const token = (await everpost.command('token', 'create', 'fuzz', '--scope', 'submit', 'read', 'content', 'control', 'events')).stdout.trim()
    const document = `http://127.0.0.1:${everpost.ports['http']}/v1/openapi.json`
    const { openapi } = (await (await fetch(document, { headers: { authorization: `Bearer ${token}` } })).json()) as { openapi: string }
    assert.equal(openapi, '3.1.0')
    const ran = await promisify(execFile)(tool, [
      'run', document, '--header', `Authorization: Bearer ${token}`, '--max-examples', process.env['EVERPOST_EXAMPLES'] ?? '15', '--seed', '7',
      '--suppress-health-check', 'all', '--phases', 'examples,coverage,fuzzing', '--exclude-path', '/v1/events', '--request-timeout', '30', '--no-color',
      // Some rules no schema can say, such as that there is a recipient in one of three lists.
      '--generation-database', 'none', '--exclude-checks', 'positive_data_acceptance',
    ], {
      cwd: everpost.folder, env: { ...process.env, PYTHONPATH: everpost.folder, SCHEMATHESIS_HOOKS: 'hooks' }, maxBuffer: 64 * 1024 * 1024,
    }).catch((error: { stdout: string; stderr: string }) => error)
    assert.ok(!(ran instanceof Error) && !('code' in ran), `${ran.stdout}\n${ran.stderr}`.slice(-12_000))
  } finally {
    await everpost.end()
  }
})
