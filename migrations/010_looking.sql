-- Choosing what waits by who submitted it and by which client handed it in.

-- Of what is queued alone, so that they stay small: an entry of each costs accept 200 octets of WAL, and no CPU that could be measured.
create index messages_user on messages (lower((origin ->> 'user') collate "C"), id collate "C") where state = 'queued' and origin ->> 'user' is not null;
create index messages_client on messages (((origin ->> 'clientAddress') collate "C"), id collate "C") where state = 'queued';
-- How much mail a user or a client has, the planner must know: much is looked for in the order wanted, little by the index.
create statistics messages_user on (lower((origin ->> 'user') collate "C")) from messages;
create statistics messages_client on ((origin ->> 'clientAddress') collate "C") from messages;

-- Finds mail by the address that its sender knows: an alias. Where that is the recipient's own address, nothing enters.
create index recipients_original on recipients (lower(orcpt collate "C"), message_id collate "C")
  where lower(orcpt collate "C") <> 'rfc822;' || lower(forward_path collate "C");
