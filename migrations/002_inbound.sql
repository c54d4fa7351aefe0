-- Users who may submit mail, beside those of the settings.

create table users (
  name           text not null,                -- what AUTH is given; most often an address
  password_hash  text not null,                -- as `everpost hash-password` makes it
  addresses      text[] not null default '{}', -- reverse-paths that are theirs besides the name; '@domain' is a whole domain
  created_at     timestamptz not null default now()
);
create unique index users_name on users (lower(name));

-- Aliases, beside those of the settings: an address of a local domain that stands for others.
create table aliases (
  address        text primary key,             -- in lower case, its domain as A-labels
  targets        text[] not null,
  changed_at     timestamptz not null default now()
);
