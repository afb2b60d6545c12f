#!/bin/sh
# Starts Redis with the users of users.acl. Passwords come from the environment
# and are kept as hashes. Only nodes of a cluster have REDIS_REPLICA_PASSWORD, and
# need it: without it there is no user who may copy everything.
# Usage: start.sh CONFIG [OPTION…]
set -eu
umask 077
here=$(dirname "$0") tmp=${TMPDIR:-/tmp}
hash() { printf %s "$1" | sha256sum | cut -d' ' -f1; }
config=$1
shift
case $config in
cluster.conf) : "${REDIS_REPLICA_PASSWORD:?has to be in .env: make .env writes it, into an older one it is to be added}" ;;
esac
replica=/@REDIS_REPLICA_PASSWORD@/d
: >"$tmp/masterauth.conf"
if [ -n "${REDIS_REPLICA_PASSWORD:-}" ]; then
  replica="s/@REDIS_REPLICA_PASSWORD@/$(hash "$REDIS_REPLICA_PASSWORD")/"
  printf 'masterauth %s\n' "$REDIS_REPLICA_PASSWORD" >"$tmp/masterauth.conf"
fi
sed -e '/^#/d' -e "$replica" \
  -e "s/@REDIS_PASSWORD@/$(hash "$REDIS_PASSWORD")/" \
  -e "s/@REDIS_OPERATOR_PASSWORD@/$(hash "$REDIS_OPERATOR_PASSWORD")/" \
  "$here/users.acl" >"$tmp/users.acl"
exec redis-server "$here/$config" --include "$tmp/masterauth.conf" --aclfile "$tmp/users.acl" "$@"
