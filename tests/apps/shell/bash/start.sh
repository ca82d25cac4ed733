#!/usr/bin/env bash
set -eu
mkdir -p /tmp/site
[[ "$PORT" =~ ^[0-9]+$ ]] && echo "hello from bash" >/tmp/site/index.html
exec /usr/lib/buildfarm/serve-static /tmp/site
