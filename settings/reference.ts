// docs/settings.md, from the schema: so that the page and the program cannot disagree.

import { type SettingSchema, settingsJsonSchema } from './defaults.ts'

const opening = `# Settings

One YAML file, \`./everpost.yaml\` unless \`--config\` names another. Every setting has a default, so dev mode needs no file. The roles \`serve\`, \`ingress\` and \`worker\` need at least
\`database.url\` and \`temporal.address\`; an ingress also needs \`tls\`, as long as \`listeners\` has one for submissions. [setting-up.md](setting-up.md) has examples.

Paths count from the folder of the file. Durations have units (\`500ms\`, \`30s\`, \`5m\`, \`4h\`, \`5d\`), sizes too (\`64KiB\`, \`50MiB\`).
From the environment, over the file: \`DATABASE_URL\`, \`TEMPORAL_ADDRESS\`, \`TEMPORAL_NAMESPACE\`, \`TEMPORAL_API_KEY\`.
Settings are read at the start of a process: after a change restart it. Only the certificates of \`tls\` and \`temporal.tls\`, and files of passwords, tokens and the API key,
are read again while it runs.
\`everpost config\` checks the file and prints what differs from the defaults; \`everpost config --all\` prints everything that is set or has a default.

This page is generated from the schema (\`npm run generate\`).
`

/** The page, in Markdown. */
export function settingsReference(): string {
  const sections = Object.entries(settingsJsonSchema().properties!).map(([key, schema]) => section(key, schema))
  return [opening, ...sections].join('\n')
}

function section(key: string, schema: SettingSchema): string {
  const lines = [`## ${key}`, '']
  if (schema.description) lines.push(schema.description, '')
  const simple = schema.default !== undefined && !schema.properties
  if (simple) lines.push(`Default: ${code(schema.default)}`, '')
  const rows = rowsOf('', schema)
  if (rows.length > 0) lines.push('| Key | Form | Default | |', '|---|---|---|---|', ...rows, '')
  return lines.join('\n')
}

/** A row for each key below a schema: of a section, of the entries of a list, of each alternative of a map. */
function rowsOf(prefix: string, schema: SettingSchema): string[] {
  const below = schema.items ?? (typeof schema.additionalProperties === 'object' ? schema.additionalProperties : schema)
  const alternatives = below.oneOf ?? below.anyOf?.filter((each) => each.properties) ?? [below]
  return alternatives.flatMap((alternative) => {
    const kind = Object.entries(alternative.properties ?? {}).find(([, value]) => value.const !== undefined)
    const title = kind ? [`| **${kind[0]}: ${String(kind[1].const)}** | | | |`] : []
    const rows = Object.entries(alternative.properties ?? {}).filter(([, value]) => value.const === undefined).flatMap(([key, value]) => row(prefix + key, value))
    return [...title, ...rows]
  })
}

/** The row of a key, and a row for each key of a mapping that it may hold, alone or in a list. */
function row(key: string, schema: SettingSchema): string[] {
  const fallback = schema.default === undefined ? '' : code(schema.default)
  const list = schema.items?.properties !== undefined
  const below = Object.entries((schema.anyOf?.find((each) => each.properties) ?? (list ? schema.items! : schema)).properties ?? {})
  return [
    `| \`${key}\` | ${form(schema)} | ${fallback} | ${schema.description ?? ''} |`,
    ...below.flatMap(([name, inner]) => row(`${key}${list ? '[]' : ''}.${name}`, inner)),
  ]
}

function form(schema: SettingSchema): string {
  if (schema.form) return schema.form
  if (schema.enum) return schema.enum.map((value) => `\`${String(value)}\``).join(', ')
  if (schema.type === 'array') return `list of ${schema.items?.form ?? schema.items?.type ?? 'value'}s`
  if (schema.properties) return 'mapping'
  if (schema.anyOf) return schema.anyOf.map(form).filter((each) => each !== '').join(', or ')
  return [schema.type ?? ''].flat().join(', or ')
}

function code(value: unknown): string {
  if (value === '' || value === null) return 'none'
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``
}
