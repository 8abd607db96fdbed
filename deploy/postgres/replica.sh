#!/bin/bash
# A streaming replica: a copy of the primary at its first start, then what the primary writes.
set -e
export PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/15/bin:$PATH
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chown -R postgres:postgres "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups bash "$0"
fi
# A copy that was interrupted is begun again.
if [ ! -e "$PGDATA/copied" ]; then
  find "$PGDATA" -mindepth 1 -delete
  pg_basebackup -h postgres -U payments -D "$PGDATA" --write-recovery-conf --wal-method=stream
  touch "$PGDATA/copied"
fi
exec postgres -c listen_addresses='*' -c hot_standby=on -c max_connections=100
