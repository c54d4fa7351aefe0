import { after, test } from 'node:test'
import { testDatabase } from '../test/support/database.ts'
import { matchesFile } from '../test/support/generated.ts'
import { dumpSchema } from '../test/support/schema-dump.ts'

const { sql, drop } = await testDatabase()
after(drop)

test('migrations/schema.txt is what the migrations make', async () => {
  matchesFile('migrations/schema.txt', await dumpSchema(sql))
})
