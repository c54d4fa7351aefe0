#!/bin/sh
# The `everpost` of the image, with the settings that the compose file mounts; another --config after it wins.
exec node /app/cli/everpost.mjs --config /etc/everpost/everpost.yaml "$@"
