-- What the retry rules have decided for a recipient stays whatever the last outcome was; and when one of them gives it up.

alter table recipients
  add column ruled jsonb not null default '{"times": {}, "since": {}}', -- by rule: how often it decided, and since when (milliseconds since 1970)
  add column gives_up_at timestamptz;                                   -- while queued: when the rule that decided last gives it up; null: when the queue lifetime ends
