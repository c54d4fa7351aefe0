// Conditions on a recipient that many statements have in common, by name. Each becomes part of the text of the statement that it stands
// in, which is prepared as one. Their columns are those of the innermost `from` that has them.

import type { Sql } from './database.ts'

/** Its delivery or its report is owed: for these a message is queued. As the partial indexes recipients_open and recipients_unsettled have it. */
export const isOpen = (sql: Sql) => sql`state in ('queued', 'notifying', 'bouncing')`

/** An attempt holds it: its lease runs. */
export const isLeased = (sql: Sql) => sql`leased_until > now()`

/** No attempt holds it, or the lease of the one that did has lapsed. */
export const isFree = (sql: Sql) => sql`(leased_until is null or leased_until <= now())`
