#!/bin/sh
# The account that the server runs as.
set -e
if ! getent passwd garrison >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/garrison --no-create-home --shell /usr/sbin/nologin garrison
fi
