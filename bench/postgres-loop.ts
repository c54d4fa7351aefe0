// The bare loop that accepting mail is measured against: the same bytes, one commit for each, with as many connections.

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase } from '../store/database.ts'
import { type Figures, type LoopRequest, reply, warmUp } from './protocol.ts'

process.once('message', (request: LoopRequest) => {
  void run(request).then(reply)
})

async function run({ database, connections, seconds, size }: LoopRequest): Promise<Figures> {
  const sql = openDatabase(database, connections)
  await sql`create table if not exists bench_loop (id text primary key, bytes bytea not null)`
  await sql`alter table bench_loop alter column bytes set storage external`
  const bytes = Buffer.alloc(size, 'x')
  const latencies: number[] = []
  let measuring = false
  let end = Number.POSITIVE_INFINITY
  const loops = Array.from({ length: connections }, async () => {
    while (performance.now() < end) {
      const begun = performance.now()
      await sql`insert into bench_loop (id, bytes) values (${randomBytes(12).toString('hex')}, ${bytes})`
      if (measuring) latencies.push(performance.now() - begun)
    }
  })
  await sleep(warmUp(seconds))
  measuring = true
  reply({ measuring: true })
  end = performance.now() + seconds * 1000
  await Promise.all(loops)
  await sql`drop table bench_loop`
  await sql.end()
  return { count: latencies.length, seconds, latencies }
}
