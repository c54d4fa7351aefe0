import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prepareEverpost } from './support/everpost.ts'
import { startPeer } from '../smtp/testing.ts'
import { until } from './support/until.ts'

test('a newer version changes the tables under one that runs: it goes on, also when it is restarted, and loses nothing', async () => {
  const script: { data?: string } = { data: '451 4.3.0 not now' }
  const peer = await startPeer(script)
  const everpost = await prepareEverpost({ routes: [{ domain: 'partner.test', nextHop: `[127.0.0.1]:${peer.port}` }] })
  const { sql } = everpost
  try {
    const older = await everpost.start()
    const before = await everpost.send('before@partner.test')
    await until('it is deferred', async () => (await sql`select from recipients where outcome is not null`).length === 1)
    // As decision 10 has it: columns with a default, a table, an index, a trigger that writes there.
    await sql.unsafe(`
      alter table messages add column priority integer not null default 5;
      alter table recipients add column note text;
      alter table attempts add column region text not null default 'here';
      create table notes (message_id text not null references messages on delete cascade, text text not null);
      create index recipients_note on recipients (note) where note is not null;
      create function note() returns trigger language plpgsql as $$ begin insert into notes values (new.message_id, new.next_hop); return new; end $$;
      create trigger noted after insert on attempts for each row execute function note();
      insert into migrations (number, name) values (999, '999_newer.sql')`)
    const amid = await everpost.send('amid@partner.test')
    await until('it is deferred, too', async () => (await sql`select from recipients where outcome is not null`).length === 2)
    await everpost.stop(older, 'SIGKILL')
    await everpost.start()
    const after = await everpost.send('after@partner.test')
    delete script.data
    for (const id of [before, amid, after]) assert.deepEqual(await everpost.states(id), ['delivered'])
    assert.equal(peer.messages.length, 3)
    assert.equal((await everpost.command('doctor')).code, 0)
  } finally {
    await everpost.end()
    await peer.close()
  }
})
