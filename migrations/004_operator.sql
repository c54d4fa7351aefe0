-- What operators do and see: holds, reroutes, listings of a long queue, tokens of the HTTP API, events and webhooks.

alter table messages
  add column held_at timestamptz,              -- not attempted and not expired until it is released
  add column send_at timestamptz;              -- not attempted before; null: at once

alter table recipients
  add column route text,                       -- next hop by an operator's word; null: as the settings and DNS say
  add column redirected_to integer,            -- failed, and replayed to another recipient of the message, this one
  add column dropped boolean not null default false; -- given up in silence by an operator: no bulk replay brings it back

-- Queue ids begin with the time, so the age of what waits for a domain is read from the index alone. Collation "C": the
-- order of the bytes, whatever the locale of the database.
create index recipients_open on recipients (domain collate "C", message_id collate "C") where state in ('queued', 'bouncing');
create index recipients_trace on recipients (lower(forward_path collate "C"), message_id collate "C");
create index messages_trace on messages (lower(reverse_path collate "C"), id collate "C");
create index messages_held on messages (held_at) where held_at is not null;

-- Bearer tokens of the HTTP API. A token is 32 octets of chance, so a plain hash keeps it.
create table tokens (
  name           text primary key,
  hash           bytea not null unique,        -- SHA-256
  scopes         text[] not null,
  created_at     timestamptz not null default now(),
  expires_at     timestamptz,
  revoked_at     timestamptz,
  used_at        timestamptz                   -- to the minute
);

-- What an idempotency key of a submission led to.
create table submissions (
  token          text not null,
  key            text not null,
  request        bytea not null,               -- SHA-256 of what was asked, since a key belongs to one request
  message_id     text,
  at             timestamptz not null default now(),
  primary key (token, key)
);
create index submissions_at on submissions (at);

-- Who wants events: each webhook of the settings, and each open stream until its time is up. Without a row no event is written.
create table subscribers (
  name           text primary key,
  kind           text not null check (kind in ('webhook', 'stream')),
  events         text[],                       -- null: all
  until          timestamptz
);

create table events (
  seq            bigint generated always as identity primary key,
  transaction    xid8 not null default pg_current_xact_id(), -- a stream goes on from what every reader can see
  message_id     text not null,
  at             timestamptz not null default now(),
  event          text not null,
  detail         jsonb not null
);
create index events_stream on events (transaction, seq);
create index events_at on events (at);

-- Events that a webhook has not taken yet.
create table webhook_queue (
  webhook        text not null,
  seq            bigint not null references events on delete cascade,
  message_id     text not null,
  attempts       integer not null default 0,
  next_at        timestamptz not null default now(),
  problem        text,                         -- of the last attempt
  dead_at        timestamptz,                  -- given up: shown to operators, sent again at their word
  primary key (webhook, seq)
);
create index webhook_queue_due on webhook_queue (next_at) where dead_at is null;
create index webhook_queue_order on webhook_queue (webhook, message_id, seq) where dead_at is null;
create index webhook_queue_event on webhook_queue (seq);

-- Events come from the rows themselves, in the transaction that changes them, so none can be forgotten and none is told of
-- what was rolled back. One message's events are in order, since whoever changes a message holds its row.
create function tell(message text, event text, detail jsonb) returns void language sql as $$
  with told as (
    insert into events (message_id, event, detail) values (message, event, detail) returning seq
  )
  insert into webhook_queue (webhook, seq, message_id)
  select s.name, told.seq, message from subscribers s, told
  where s.kind = 'webhook' and (s.events is null or event = any(s.events))
$$;

create function tell_accepted() returns trigger language plpgsql as $$
begin
  if exists (select from subscribers where until is null or until > now()) then
    perform tell(new.id, 'accepted', jsonb_build_object('kind', new.kind, 'parent', new.parent, 'from', new.reverse_path, 'size', new.size,
      'user', new.origin ->> 'user', 'sendAt', new.send_at, 'expiresAt', new.expires_at));
  end if;
  return null;
end $$;

create function tell_attempt() returns trigger language plpgsql as $$
begin
  if exists (select from subscribers where until is null or until > now()) then
    perform tell(new.message_id, 'attempt', jsonb_build_object('number', new.number, 'nextHop', new.next_hop, 'recipients', new.recipients,
      'begunAt', new.begun_at, 'lost', new.lost, 'tries', new.tries));
  end if;
  return null;
end $$;

create function tell_recipient() returns trigger language plpgsql as $$
declare
  -- A recipient that failed is told of when its report is committed with it, or nobody is to be told; a delivery at once.
  event text := case when new.state = 'queued' then 'deferred' when new.state = 'notifying' then 'delivered'
                     when new.state = 'bouncing' or old.state = 'notifying' then null else new.state end;
begin
  if event is not null and exists (select from subscribers where until is null or until > now()) then
    perform tell(new.message_id, event, jsonb_build_object('n', new.n, 'to', new.forward_path, 'attempts', new.attempts, 'dropped', new.dropped,
      'nextAttemptAt', case when new.state = 'queued' then new.next_attempt_at end, 'deadLetter', new.dead_letter,
      'dsn', new.outcome ->> 'enhanced', 'text', new.outcome ->> 'text', 'host', new.outcome ->> 'host', 'address', new.outcome ->> 'address'));
  end if;
  return null;
end $$;

create function tell_action() returns trigger language plpgsql as $$
begin
  if exists (select from subscribers where until is null or until > now()) then
    perform tell(new.message_id, case new.action when 'hold' then 'held' when 'release' then 'released' when 'replay' then 'replayed' else 'action' end,
      jsonb_build_object('action', new.action, 'who', new.who, 'why', new.why) || new.detail);
  end if;
  return null;
end $$;

create trigger tell_accepted after insert on messages for each row execute function tell_accepted();
create trigger tell_attempt after update of ended_at on attempts for each row
  when (old.ended_at is null and new.ended_at is not null) execute function tell_attempt();
create trigger tell_recipient after update of state, outcome on recipients for each row
  when ((old.state is distinct from new.state or old.outcome is distinct from new.outcome or old.attempts <> new.attempts)
    and not (old.state in ('bounced', 'expired') and new.state = 'queued')) execute function tell_recipient();
create trigger tell_action after insert on actions for each row execute function tell_action();
