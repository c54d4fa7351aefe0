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
# By these Temporal's UI filters the messages that wait; workers set them where they find them registered when they start.
attribute() {
  tries=0
  # A namespace that was just made is known everywhere only after some seconds.
  until temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" --name "$1" --type "$2" > /dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 30 ]; then
      echo "The search attribute $1 cannot be registered; mail is delivered without it." >&2
      return
    fi
    sleep 2
  done
}
attribute EverpostStatus Keyword
attribute EverpostSenderDomain Keyword
attribute EverpostDestination KeywordList
echo "The namespace $TEMPORAL_NAMESPACE is there."
