-- What its sender has put off is as old as that time is past: found without reading the queue, of which it is little.
create index messages_put_off on messages (send_at) where state = 'queued' and send_at is not null;
