#!/bin/sh
# Starts Redis with the users of users.acl. Passwords come from the environment
# and are kept as hashes.
# Usage: start.sh CONFIG [OPTION…]
set -eu
umask 077
hash() { printf %s "$1" | sha256sum | cut -d' ' -f1; }
sed -e '/^#/d' \
  -e "s/@REDIS_PASSWORD@/$(hash "$REDIS_PASSWORD")/" \
  -e "s/@REDIS_OPERATOR_PASSWORD@/$(hash "$REDIS_OPERATOR_PASSWORD")/" \
  /etc/grandstand/users.acl >/tmp/users.acl
printf 'masterauth %s\n' "$REDIS_PASSWORD" >/tmp/masterauth.conf
config=$1
shift
exec redis-server "/etc/grandstand/$config" --include /tmp/masterauth.conf --aclfile /tmp/users.acl "$@"
