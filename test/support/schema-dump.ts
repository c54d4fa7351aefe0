// The schema of a database as text, from Postgres' catalogs: what pg_dump would say, without pg_dump, in a stable order.

import type { Sql } from '../../store/database.ts'

export async function dumpSchema(sql: Sql): Promise<string> {
  const tables = await sql<{ name: string; options: string[] | null }[]>`
    select relname as name, reloptions as options from pg_class
    where relkind = 'r' and relnamespace = 'public'::regnamespace order by relname`
  const texts = await Promise.all(tables.map(async ({ name, options }) => {
    const columns = await sql<{ line: string }[]>`
      select format('  %s %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod), case when a.attnotnull then ' not null' else '' end,
        case when d.adbin is null then '' else ' default ' || pg_get_expr(d.adbin, d.adrelid) end,
        case when a.attstorage <> t.typstorage then ' storage ' || case a.attstorage when 'e' then 'external' when 'p' then 'plain' when 'm' then 'main' else 'extended' end else '' end) as line
      from pg_attribute a join pg_type t on t.oid = a.atttypid left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attrelid = ${name}::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum`
    const constraints = await sql<{ line: string }[]>`
      select format('  constraint %s %s', conname, pg_get_constraintdef(oid)) as line from pg_constraint
      where conrelid = ${name}::regclass and contype <> 'n' order by contype, conname`
    const indexes = await sql<{ line: string }[]>`
      select pg_get_indexdef(indexrelid) as line from pg_index i
      where indrelid = ${name}::regclass and not exists (select from pg_constraint where conindid = i.indexrelid and conrelid = i.indrelid) order by 1`
    const lines = (rows: { line: string }[]) => rows.map((row) => row.line)
    const body = [...lines(columns), ...lines(constraints)].join(',\n')
    return [`table ${name}${options ? ` with (${options.join(', ')})` : ''} (\n${body}\n)`, ...lines(indexes)].join('\n')
  }))
  return `${texts.join('\n\n')}\n`
}
