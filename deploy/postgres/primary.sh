#!/bin/bash
# On the primary's first start: replicas of this network may stream.
set -e
echo 'host replication payments samenet scram-sha-256' >>"$PGDATA/pg_hba.conf"
