-- Users who may submit mail, beside those of the settings.

create table users (
  name           text not null,                -- what AUTH is given; most often an address
  password_hash  text not null,                -- as `everpost hash-password` makes it
  addresses      text[] not null default '{}', -- reverse-paths that are theirs besides the name; '@domain' is a whole domain
  created_at     timestamptz not null default now()
);
create unique index users_name on users (lower(name));
