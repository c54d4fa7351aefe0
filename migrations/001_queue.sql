-- The queue: messages, their recipients, their bodies, and every attempt to hand them on.

create table messages (
  id             text primary key,             -- queue id = workflow id
  kind           text not null check (kind in ('mail', 'dsn')),
  parent         text,                         -- the message that a DSN reports on
  reverse_path   text not null,                -- '' is the null reverse-path
  body_type      text not null check (body_type in ('7BIT', '8BITMIME', 'BINARYMIME')),
  smtp_utf8      boolean not null,
  require_tls    boolean not null,
  ret            text check (ret in ('FULL', 'HDRS')),
  envid          text,
  size           bigint not null,              -- octets as received, without the fields that we prepend
  origin         jsonb not null,               -- who handed it to us, and how: mail/envelope.ts, Origin
  accepted_at    timestamptz not null default now(),
  expires_at     timestamptz not null,
  state          text not null default 'queued' check (state in ('queued', 'finished')),
  attempts       integer not null default 0,   -- numbers handed out to attempts, so that each is unique
  started_at     timestamptz,                  -- when its workflow first ran; null: still in the outbox
  drive_at       timestamptz,                  -- when the outbox next makes sure that a workflow drives it; null: never
  trace          bytea,                        -- the header fields that we prepend; null until stamped
  finished_at    timestamptz,
  body_release_at timestamptz,                 -- when the body may go; null: not before the message is finished
  body_released_at timestamptz
);

create index messages_drive on messages (drive_at) where drive_at is not null;
create index messages_outbox on messages (accepted_at) where started_at is null;
create index messages_queued on messages (accepted_at) where state = 'queued';
create index messages_release on messages (body_release_at) where body_release_at is not null and body_released_at is null;
create index messages_parent on messages (parent) where parent is not null;

create table recipients (
  message_id     text not null references messages on delete cascade,
  n              integer not null,             -- position in the envelope
  forward_path   text not null,
  domain         text not null,                -- canonical: lower case, A-labels
  notify         text[] not null,
  orcpt          text,
  state          text not null default 'queued'
                 check (state in ('queued', 'delivered', 'bouncing', 'bounced', 'expired')),
                                               -- bouncing: failed for good, its report not yet committed
  attempts       integer not null default 0,   -- those that advanced the backoff
  next_attempt_at timestamptz not null default now(),
  attempt        integer,                      -- the attempt that holds it, or held it last
  leased_until   timestamptz,                  -- while this is ahead, that attempt is alive and nobody else may try
  outcome        jsonb,                        -- the last one: mail/outcome.ts, Outcome
  settled_at     timestamptz,
  dead_letter    boolean not null default false, -- failed, and nobody could be told
  primary key (message_id, n)
) with (fillfactor = 80);

create index recipients_unsettled on recipients (message_id) where state in ('queued', 'bouncing');
create index recipients_failed on recipients (settled_at) where state in ('bounced', 'expired');

create table attempts (
  message_id     text not null references messages on delete cascade,
  number         integer not null,
  next_hop       text not null,
  recipients     integer[] not null,
  worker         text not null,
  begun_at       timestamptz not null default now(),
  dot_at         timestamptz,                  -- written before the final dot is sent
  ended_at       timestamptz,
  lost           boolean not null default false, -- its worker died: with dot_at set, the delivery is unknown
  tries          jsonb not null default '[]',  -- hosts tried: mail/outcome.ts, HostTry
  outcomes       jsonb not null default '{}',  -- by recipient
  primary key (message_id, number)
);

create index attempts_open on attempts (worker) where ended_at is null;

-- A body arrives in chunks, each committed by itself; the message row that makes them count comes last.
create table body_chunks (
  message_id     text not null,
  seq            integer not null,
  bytes          bytea not null,
  primary key (message_id, seq)
);
alter table body_chunks alter column bytes set storage external; -- mail seldom compresses enough to pay for the CPU

-- Bodies whose message row does not exist yet; what a dead ingress leaves behind is found by its age.
create table uploads (
  id             text primary key,
  touched_at     timestamptz not null default now()
);

-- What operators did: who, when, why.
create table actions (
  message_id     text not null references messages on delete cascade,
  at             timestamptz not null default now(),
  who            text not null,
  action         text not null,
  why            text not null default '',
  detail         jsonb not null default '{}'
);
create index actions_message on actions (message_id, at);
