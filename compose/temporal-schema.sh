#!/bin/sh
# Creates Temporal's databases when they are not there, and brings their schema up to date. Safe to run again.
set -eu

for database in temporal temporal_visibility; do
  tool() { temporal-sql-tool --plugin postgres12 --ep "$SQL_HOST" --port "${SQL_PORT:-5432}" --user "$SQL_USER" --db "$database" "$@"; }
  # The tool carries the schemas of its own version.
  schema=postgresql/v12/$([ "$database" = temporal ] && echo temporal || echo visibility)
  tool create
  tool setup-schema --version 0.0
  tool update-schema --schema-name "$schema"
done
