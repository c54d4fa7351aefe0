-- The queue engine: success reports, the delay report, and destinations.

-- notifying: delivered, its success report (RFC 3461, NOTIFY=SUCCESS) not yet committed.
alter table recipients drop constraint recipients_state_check;
alter table recipients add constraint recipients_state_check
  check (state in ('queued', 'delivered', 'notifying', 'bouncing', 'bounced', 'expired'));
drop index recipients_unsettled;
create index recipients_unsettled on recipients (message_id) where state in ('queued', 'notifying', 'bouncing');

alter table messages add column delay_reported_at timestamptz; -- when the delay report was committed, or found to be wanted by nobody

alter table recipients add column destination text; -- while it waits: the destination that it waits for
alter table recipients add column waits text;       -- while no attempt is possible: why (suspended, circuit, limit)
create index recipients_destination on recipients (destination) where state = 'queued' and destination is not null;

-- What is known of a destination beside its traffic: by an operator's word, or since it failed. Most have no row.
create table destinations (
  name           text primary key,             -- as mail/destination.ts names it, or a next hop
  suspended_until timestamptz,                 -- no attempt before
  suspended_by   text not null default '',
  suspended_why  text not null default '',
  suspended_at   timestamptz,
  concurrency    integer check (concurrency > 0), -- attempts at a time, over all workers; null: as the settings say
  rate           double precision check (rate > 0), -- attempts a second, over all workers; null: as the settings say
  circuit_until  timestamptz,                  -- not null: the circuit is open; from then on one attempt at a time probes
  circuit_step   integer not null default 0,   -- openings in a row, each with a longer pause
  circuit_since  timestamptz,
  circuit_why    text not null default '',
  probe_until    timestamptz                   -- while this is ahead, a probe is under way
);

-- Each worker's part in a limit: it says what it could use, and takes its portion. Lost at a crash, as it should be.
create unlogged table destination_shares (
  destination    text not null,
  worker         text not null,
  wants          integer not null,             -- attempts that it could make, at most as many as the limit allows
  under_way      integer not null,             -- attempts that it makes
  renewed_at     timestamptz not null default now(),
  primary key (destination, worker)
);

-- What came of the attempts, by worker and hour, so that no row is written by two.
create table destination_traffic (
  destination    text not null,
  worker         text not null,
  hour           timestamptz not null,
  delivered      integer not null,             -- recipients
  deferred       integer not null,
  bounced        integer not null,
  last_at        timestamptz not null,
  last_text      text not null,
  primary key (destination, hour, worker)
);
create index destination_traffic_hour on destination_traffic (hour);
