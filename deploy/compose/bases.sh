#!/usr/bin/env bash
# Makes the bases of all images from Debian's packages and this machine's Go, for
# a machine that can pull none: grandstand-base:debian stands in for the images
# of Redis, HAProxy and Prometheus, grandstand-base:go for that of Go. It also
# shows that the Dockerfiles do with any base. Needs root, docker and debootstrap.
set -euo pipefail
suite=${SUITE:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

debootstrap --variant=minbase --include=ca-certificates,redis-server,haproxy,prometheus "$suite" "$root" "$mirror" >"$work/log" ||
  { tail -20 "$work/log" >&2; exit 1; }
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" # whatever this machine trusts, its builds do
install -d -o 999 -g 999 "$root/data"
install -d -o 65534 -g 65534 "$root/prometheus"
tar -C "$root" -c . | docker import - grandstand-base:debian

cp -a "$(go env GOROOT)" "$root/usr/local/go"
tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin' - grandstand-base:go
