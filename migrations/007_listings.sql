-- Listings and webhooks that stay fast however much waits.

-- Each webhook by itself, so that one that takes nothing is not read through for another.
drop index webhook_queue_due;
create index webhook_queue_due on webhook_queue (webhook, next_at, seq) where dead_at is null;

-- A recipient whose success report is owed is part of the queue, as one whose failure report is.
drop index recipients_open;
create index recipients_open on recipients (domain collate "C", message_id collate "C") where state in ('queued', 'notifying', 'bouncing');

-- Finds mail by what the last reply holds. What is delivered at first try never enters it. Without the extension, or the right to create it,
-- everything goes on as it is, and a search for a text that is rare reads the whole queue.
do $$
begin
  create extension if not exists pg_trgm;
  create index recipients_reply on recipients using gin ((outcome ->> 'text') gin_trgm_ops) where state = 'queued' and outcome is not null;
  -- How common a text is, the planner must know: what is common is looked for in the order wanted, what is rare by the index.
  create statistics recipients_reply on (outcome ->> 'text') from recipients;
exception when insufficient_privilege or undefined_file or feature_not_supported then
  raise notice 'pg_trgm cannot be had: searching by reply stays slow';
end $$;
