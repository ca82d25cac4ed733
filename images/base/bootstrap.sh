#!/bin/sh
# Makes the base image's root file system without a container registry: bootstrap.sh OUT.tar
# The same packages give the same bytes (SOURCE_DATE_EPOCH); `docker import` makes an image of it.
set -eu
out=$1
slim=$(dirname "$0")/slim
: "${SOURCE_DATE_EPOCH:=1}"
export SOURCE_DATE_EPOCH

mmdebstrap --quiet --variant=minbase --include=ca-certificates \
    --dpkgopt="$slim" \
    --setup-hook='mkdir -p "$1/etc/dpkg/dpkg.cfg.d"' \
    --setup-hook="cp $slim \"\$1/etc/dpkg/dpkg.cfg.d/slim\"" \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/debconf/*-old' \
    trixie "$out"
