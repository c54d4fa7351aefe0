-- The queue engine: places of a shared limit are leased.

alter table destination_shares drop column under_way;
alter table destination_shares add column places integer not null default 0; -- of the limit on concurrency: held by this worker

alter table recipients add column verp text; -- its own reverse-path, where each recipient was to have one; null: the message's
