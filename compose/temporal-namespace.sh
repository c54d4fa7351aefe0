#!/bin/sh
# Registers the namespace when it is not there. Safe to run again.
set -eu

tries=0
until temporal operator cluster health > /dev/null 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -ge 60 ]; then
    echo "Temporal at $TEMPORAL_ADDRESS does not serve after two minutes; its log tells why (docker compose logs temporal)." >&2
    exit 1
  fi
  sleep 2
done
# Closed workflows stay visible for three days; Everpost's own record of a message stays in Postgres.
temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" > /dev/null 2>&1 \
  || temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 72h
echo "The namespace $TEMPORAL_NAMESPACE is there."
