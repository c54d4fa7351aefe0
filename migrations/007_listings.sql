-- Listings and webhooks that stay fast however much waits.

-- Each webhook by itself, so that one that takes nothing is not read through for another.
drop index webhook_queue_due;
create index webhook_queue_due on webhook_queue (webhook, next_at, seq) where dead_at is null;
