import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client, Connection } from '@temporalio/client'
import postgres from 'postgres'
import { parse } from 'yaml'
import { startPostgres } from '../dev/postgres.ts'
import { findTemporal } from '../dev/temporal.ts'
import { searchAttributes } from '../mail/search.ts'
import { loadSettings } from '../settings/load.ts'
import { prepareEverpost } from './support/everpost.ts'
import { createTemporalDatabases, lacksTemporalServer, startTemporalOnPostgres, temporalDatabases } from './support/temporal-on-postgres.ts'

// No container runs here: the file is parsed, and each command and file that it names is tried outside of containers.

const root = fileURLToPath(new URL('../../', import.meta.url))
const text = (name: string) => readFileSync(join(root, name), 'utf8')
const run = promisify(execFile)

interface Service {
  image: string
  command?: string[]
  entrypoint?: string[]
  environment?: Record<string, string>
  volumes?: string[]
  ports?: string[]
  restart?: string
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test: string[] }
}
const file = parse(text('docker-compose.yml'), { merge: true }) as { services: Record<string, Service>; volumes: Record<string, unknown> }
const services = Object.entries(file.services)
const ours = services.filter(([, service]) => service.image === 'everpost')
const dockerfile = text('Dockerfile')

test('images are pinned, no database port is published, UI and HTTP only to this machine, and there is no default password', () => {
  assert.deepEqual(services.filter(([, { image }]) => image !== 'everpost' && !/:\d+\.\d+/.test(image)).map(([name]) => name), [])
  assert.ok(dockerfile.match(/^FROM (\S+)/gm)!.every((line) => /^FROM node:20\.\d+-/.test(line)))
  const published = Object.fromEntries(services.filter(([, { ports }]) => ports).map(([name, { ports }]) => [name, ports]))
  assert.deepEqual(Object.keys(published).sort(), ['ingress', 'temporal-ui'])
  assert.ok(published['temporal-ui']!.every((port) => port.startsWith('127.0.0.1:')))
  assert.deepEqual(published['ingress']!.filter((port) => port.endsWith(':8025')), ['127.0.0.1:8025:8025'])
  const secrets = text('docker-compose.yml').match(/\$\{[^}]*\}/g)!
  assert.ok(secrets.length > 3)
  assert.deepEqual(secrets.filter((variable) => !/^\$\{(POSTGRES_PASSWORD|EVERPOST_TLS):\?[^}]+\}$/.test(variable)), [])
})

test('Postgres keeps its data in a named volume, with the settings that the promise rests on', () => {
  const { volumes, command } = file.services['postgres']!
  assert.deepEqual(volumes, ['postgres:/var/lib/postgresql/data'])
  assert.ok('postgres' in file.volumes && 'mail' in file.volumes)
  for (const setting of ['fsync=on', 'full_page_writes=on', 'synchronous_commit=on']) assert.ok(command!.includes(setting))
})

test('what runs on has a health check; what a service waits for exists and can come true', () => {
  const once = services.filter(([, { restart }]) => restart === 'on-failure').map(([name]) => name)
  assert.deepEqual(once, ['temporal-schema', 'temporal-namespace'])
  assert.deepEqual(services.filter(([name, service]) => !once.includes(name) && !service.healthcheck).map(([name]) => name), [])
  for (const [name, { depends_on = {} }] of services) {
    for (const [other, { condition }] of Object.entries(depends_on)) {
      const possible = condition === 'service_healthy' ? file.services[other]?.healthcheck !== undefined : once.includes(other)
      assert.ok(possible, `${name} waits for ${other}: ${condition}`)
    }
  }
  assert.deepEqual(Object.keys(file.services['ingress']!.depends_on!), ['postgres'])
})

test('one ingress and two workers, each with a role that the program has and variables that it reads', async () => {
  assert.deepEqual(ours.map(([name, { command }]) => [name, ...command!]), [['ingress', 'ingress'], ['worker-1', 'worker'], ['worker-2', 'worker']])
  const read = ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'TEMPORAL_NAMESPACE']
  for (const [, service] of ours) {
    const environment = Object.fromEntries(Object.entries(service.environment!).map(([key, value]) => [key, value.replace(/\$\{POSTGRES_PASSWORD[^}]*\}/, 'secret')]))
    assert.deepEqual(Object.keys(environment), read)
    const { settings } = loadSettings({ file: join(root, 'compose/everpost.yaml'), environment })
    assert.deepEqual([settings.database.url, settings.temporal.address, settings.temporal.namespace], read.map((key) => environment[key]))
    assert.equal(new URL(settings.database.url).hostname in file.services, true)
    assert.equal(settings.temporal.address.split(':')[0]! in file.services, true)
    const { stdout } = await run(process.execPath, [join(root, 'cli/everpost.mjs'), ...service.command!, '--help'])
    assert.match(stdout, new RegExp(`Usage: everpost ${service.command!}`))
  }
})

test('the settings that are mounted are right, and agree with the published ports and the volumes', () => {
  const { settings } = loadSettings({ file: join(root, 'compose/everpost.yaml'), environment: {} })
  const published = new Map(file.services['ingress']!.ports!.map((port) => port.split(':').slice(-2).map(Number) as [number, number]))
  assert.deepEqual(settings.listeners.map(({ kind, port }) => [kind, port]), [['smtp', published.get(25)], ['submission', published.get(587)], ['submissions', published.get(465)]])
  assert.deepEqual([settings.http.address, settings.http.port], ['0.0.0.0', published.get(8025)])
  const mounts = file.services['ingress']!.volumes!.map((volume) => volume.replace(/\$\{.*\}/, 'tls').split(':')[1]!)
  const inside = (path: string) => mounts.some((mount) => path === mount || path.startsWith(`${mount}/`))
  assert.ok(inside(settings.tls!.cert) && inside(settings.tls!.key) && inside(settings.state))
  const agent = settings.localDomains['example.test']!
  assert.ok(agent.deliver === 'maildir' && inside(agent.path))
  assert.deepEqual(settings.relayNetworks, [])
})

test('the image runs as a user of its own, from files that exist, and the health command tells health', async () => {
  assert.match(dockerfile, /^USER node$/m)
  const copied = [...dockerfile.matchAll(/^COPY --from=build \/app\/(\S+) (\S+)$/gm)].map((match) => match[1]!)
  assert.deepEqual(copied.filter((path) => !existsSync(join(root, path))), [])
  const entrypoint = JSON.parse(/^ENTRYPOINT (\[.*\])$/m.exec(dockerfile)![1]!) as string[]
  const { test: check } = file.services['ingress']!.healthcheck!
  assert.deepEqual([entrypoint, check.slice(0, 2)], [['everpost'], ['CMD', 'everpost']])
  const [, wrapper, name] = /^COPY --from=build --chmod=755 \/app\/(\S+) (\S+)$/m.exec(dockerfile)!
  assert.equal(name, '/usr/local/bin/everpost')
  const everpost = await prepareEverpost({ http: { address: '127.0.0.1', port: 18025 + (process.pid % 1000) } })
  try {
    assert.equal((await everpost.command(check.at(-1)!)).code, 69)
    await everpost.start('ingress')
    const { code, stdout } = await everpost.command(check.at(-1)!)
    assert.deepEqual([code, JSON.parse(stdout)], [0, { status: 'ready', role: 'ingress' }])
    // What stands on PATH there, with the places of this machine.
    const script = text(wrapper!).replace('/app/', root).replace('/etc/everpost/everpost.yaml', join(everpost.folder, 'everpost.yaml'))
    assert.equal((await run('sh', ['-c', script, 'everpost', ...check.slice(2)])).stdout, stdout)
  } finally {
    await everpost.end()
  }
})

test('every command of "With docker compose" names services of the file, and commands and options that Everpost has', async () => {
  const section = /^## With docker compose\n(.*?)^## /ms.exec(text('docs/operating.md'))![1]!
  const lines = section.split('\n').filter((line) => line.startsWith('    ')).map((line) => line.trim())
  assert.ok(lines.length >= 12 && lines.every((line) => line.startsWith('docker compose ')))
  for (const line of lines) {
    const words = line.split(/ +/).slice(2)
    const named = words.filter((word) => word in file.services)
    assert.ok(/^(up --build|ps|build)/.test(words.join(' ')) ? named.length === 0 : named.length > 0, line)
    const typed = words[0] === 'run' ? words.slice(words.indexOf('ingress') + 1) : words.includes('everpost') ? words.slice(words.indexOf('everpost') + 1) : []
    if (typed.length === 0 || !words.includes('ingress')) continue
    const command = typed.slice(0, typed[0] === 'user' ? 2 : 1)
    const { stdout } = await run(process.execPath, [join(root, 'cli/everpost.mjs'), ...command, '--help'])
    assert.match(stdout, new RegExp(`^Usage: everpost ${command.join(' ')} `), line)
    for (const option of typed.filter((word) => word.startsWith('--'))) assert.ok(stdout.includes(`${option} `), `${option} in ${line}`)
  }
})

test("Temporal finds a dynamic configuration, without which it does not start and which its image lacks; the schemas are those of the job's tool", () => {
  const { environment, volumes } = file.services['temporal']!
  const [source, target] = volumes![0]!.split(':')
  assert.equal(environment!['DYNAMIC_CONFIG_FILE_PATH'], target)
  const values = parse(text(source!)) as Record<string, { value: unknown }[]>
  assert.ok(Object.values(values).flat().every((each) => 'value' in each))
  assert.ok(!text('compose/temporal-schema.sh').includes('--schema-dir'))
})

test("the real server starts on what the jobs prepare, with the driver, shards and dynamic configuration of the compose file", { skip: lacksTemporalServer() ?? false }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everpost-compose-'))
  const database = await startPostgres({ folder, progress: () => {} })
  try {
    await createTemporalDatabases(database.url)
    const shards = Number(file.services['temporal']!.environment!['NUM_HISTORY_SHARDS'])
    // It runs the job for the schema again, and that for the namespace.
    const temporal = await startTemporalOnPostgres({ folder: join(folder, 'temporal'), postgres: database.url })
    try {
      const sql = postgres(database.url, { max: 1 })
      const names = await sql<{ datname: string }[]>`select datname from pg_database where datname like 'temporal%' order by 1`
      assert.deepEqual(names.map(({ datname }) => datname), temporalDatabases)
      await sql.end()
      const connection = await Connection.connect({ address: temporal.address })
      const { historyShardCount, persistenceStore } = await new Client({ connection }).workflowService.getClusterInfo({})
      assert.deepEqual([historyShardCount, persistenceStore], [shards, 'postgres12'])
      const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'default' })
      assert.deepEqual(Object.keys(searchAttributes).filter((name) => !(name in customAttributes)), [])
      await connection.close()
      const dynamic = join(root, 'compose/temporal-dynamic.yaml')
      const { stdout } = await run(join(process.env['EVERPOST_TEMPORAL_BIN']!, 'temporal-server'), ['validate-dynamic-config', dynamic])
      assert.doesNotMatch(stdout, /error|warning/)
    } finally {
      await temporal.stop()
    }
  } finally {
    await database.stop()
    rmSync(folder, { recursive: true, force: true })
  }
})

test('the namespace job registers the namespace, and may run again', async () => {
  const everpost = await prepareEverpost()
  try {
    symlinkSync((await findTemporal(() => {})).path, join(everpost.folder, 'temporal'))
    const namespace = `compose-${process.pid}`
    const environment = { ...process.env, PATH: `${everpost.folder}:${process.env['PATH']}`, TEMPORAL_ADDRESS: everpost.temporal, TEMPORAL_NAMESPACE: namespace }
    for (let i = 0; i < 2; i++) {
      const { stdout } = await run('sh', [join(root, 'compose/temporal-namespace.sh')], { env: environment })
      assert.match(stdout, new RegExp(`The namespace ${namespace} is there`))
    }
    const connection = await Connection.connect({ address: everpost.temporal })
    const { config } = await new Client({ connection }).workflowService.describeNamespace({ namespace })
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace })
    assert.deepEqual(Object.keys(searchAttributes).filter((name) => !(name in customAttributes)), [])
    assert.equal(Number(config!.workflowExecutionRetentionTtl!.seconds), 72 * 3600)
    await connection.close()
  } finally {
    await everpost.end()
  }
  execFileSync('sh', ['-n', join(root, 'compose/temporal-schema.sh')])
})
