-- The queue engine: success reports, the delay report, and destinations.

-- notifying: delivered, its success report (RFC 3461, NOTIFY=SUCCESS) not yet committed.
alter table recipients drop constraint recipients_state_check;
alter table recipients add constraint recipients_state_check
  check (state in ('queued', 'delivered', 'notifying', 'bouncing', 'bounced', 'expired'));
drop index recipients_unsettled;
create index recipients_unsettled on recipients (message_id) where state in ('queued', 'notifying', 'bouncing');

alter table messages add column delay_reported_at timestamptz; -- when the delay report was committed, or found to be wanted by nobody
