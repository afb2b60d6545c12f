#!/bin/sh
# Prints a new .env: secrets of this machine's stack, made up here. None is in
# the repository, and docker compose does not start without them.
set -eu
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
cat <<END
# Made by make .env; keep it to yourself. Remove it, and the volumes, to begin anew.
GRANDSTAND_SECRET=$(random)
JWT_SECRET=$(random)
ADMIN_TOKEN=$(random)
REDIS_PASSWORD=$(random)
REDIS_OPERATOR_PASSWORD=$(random)
REDIS_REPLICA_PASSWORD=$(random)
MINIO_PASSWORD=$(random)
GRAFANA_PASSWORD=$(random)
END
