-- 8BIT: holds octets above 127, though its client declared 7BIT or nothing. An older program takes it for 8BITMIME.
alter table messages
  drop constraint messages_body_type_check,
  add constraint messages_body_type_check check (body_type in ('7BIT', '8BIT', '8BITMIME', 'BINARYMIME'));
