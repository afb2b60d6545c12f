#!/bin/sh
# Joins the nodes to a cluster: the first half are masters, the others replicas.
# At a later start the containers may have other addresses: the nodes, which know
# each other by id, are told.
# Usage: join.sh HOST…
set -eu
export REDISCLI_AUTH="$REDIS_OPERATOR_PASSWORD"
address() { getent hosts "$1" | cut -d' ' -f1; }
if redis-cli --user operator -h "$1" cluster info | grep -q '^cluster_known_nodes:1[^0-9]'; then
  nodes=
  for host; do nodes="$nodes $(address "$host"):6379"; done
  # shellcheck disable=SC2086
  exec redis-cli --user operator --cluster create $nodes --cluster-replicas 1 --cluster-yes
fi
first=$1
for host; do redis-cli --user operator -h "$first" cluster meet "$(address "$host")" 6379; done
