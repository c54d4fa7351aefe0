-- How often the outbox has driven the message since anything came of it: a workflow that is there and does nothing is made anew.
alter table messages add column driven integer not null default 0;

-- No query asks by it.
drop index attempts_open;
