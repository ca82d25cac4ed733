#!/bin/sh -eu
mkdir -p /tmp/site
echo "hello from ${0##*/}${BASH_VERSION:-, not bash}" >/tmp/site/index.html
exec /usr/lib/buildfarm/serve-static /tmp/site
