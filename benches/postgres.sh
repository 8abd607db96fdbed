#!/usr/bin/env bash
# Payments on Postgres beside pgbench's TPC-B-like transactions: the same server with its usual durability, the
# same number of connections, in turn. Uniform accounts, then hot ones (Zipf 2.0). Every strategy on one database: a
# start with `striped` divides its accounts, the next one with another strategy folds them back.
#
#   benches/postgres.sh [ROUNDS] [CONNECTIONS] [SECONDS]      default: 5 rounds, 16 connections, 8 s a run
#
# Needs Debian's postgresql; starts a server of its own in a folder of its own.
source "$(dirname "$0")/common.sh"
rounds=${1:-5} connections=${2:-16} seconds=${3:-8}
cargo build --release -q -p squall
programs=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
port=54399 server=postgres://postgres@127.0.0.1:54399
make_tmp
chmod 755 "$tmp"
mkdir "$tmp/data"
owner=()
if [ "$(id -u)" = 0 ]; then
  chown postgres "$tmp/data"
  owner=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
data=$(realpath "$tmp/data")
(cd / && "${owner[@]}" "$programs/initdb" -A trust -U postgres -D "$data" >/dev/null)
# All but the memory as it comes: fsync and synchronous_commit are on.
(cd / && exec "${owner[@]}" "$programs/postgres" -D "$data" -p "$port" -h 127.0.0.1 -c unix_socket_directories= \
  -c shared_buffers=512MB -c max_wal_size=4GB) >"$tmp/postgres.log" 2>&1 &
postgres=$!
service=
trap 'kill -INT ${service:-} "$postgres" 2>/dev/null; wait; rm -rf "$tmp"' EXIT
for _ in $(seq 100); do psql -q "$server/postgres" -c 'SELECT 1' >/dev/null 2>&1 && break || sleep 0.1; done
psql -q "$server/postgres" -c 'CREATE DATABASE pgbench' -c 'CREATE DATABASE payments'
# More branches than connections, or it would measure locks (pgbench's manual).
"$programs/pgbench" -q -i -s 50 "$server/pgbench" >/dev/null 2>&1

export PAYMENTS_TOKEN=benchmark-of-payments PAYMENTS_ADMIN_TOKEN=benchmark-of-payments
export PAYMENTS_POSTGRES=$server/payments RUST_LOG=error

# Payments a second of one run with the given strategy; further arguments go to squall.
payments() {
  local strategy=$1
  shift
  "$target/squall" target --store postgres --strategy "$strategy" --pool-max "$connections" --listen 127.0.0.1:9098 \
    --admin 127.0.0.1:9097 --accounts 100000 --opening-balance 1000000000 2>>"$tmp/service.log" &
  service=$!
  for _ in $(seq 300); do (: </dev/tcp/127.0.0.1/9098) 2>/dev/null && break || sleep 0.1; done
  rm -rf "$tmp/run"
  "$target/squall" run benches/postgres.toml --closed "${seconds}s" --seed "$RANDOM" --ui none --out "$tmp/run" "$@" \
    >"$tmp/out.txt" 2>&1 || true
  kill -TERM "$service" && wait "$service"
  service=
  python3 - "$tmp/run/summary.json" <<'PY'
import json, sys
s = json.load(open(sys.argv[1]))
l, t = s["load"], s["latency_ms"]["service"]
print(f"{l['achieved_rps']:.0f} {l['failed']} {t['p50']:.1f} {t['p99']:.1f}")
PY
}

machine
echo "# $("$programs/postgres" --version), $connections connections to it, $seconds s a run; 256 connections to the service"
printf '%-7s %-24s %14s %8s %9s %9s\n' round what transactions/s failed 'p50 ms' 'p99 ms'
declare -A all
row() {
  # shellcheck disable=SC2086
  set -- "$1" "$2" $3
  printf '%-7s %-24s %14s %8s %9s %9s\n' "$1" "$2" "$3" "${4:--}" "${5:--}" "${6:--}"
  all[$2]+=" $3"
}
for round in $(seq "$rounds"); do
  tps=$("$programs/pgbench" -n -M prepared -c "$connections" -j 2 -T "$seconds" "$server/pgbench" 2>/dev/null | awk '/^tps/ {printf "%.0f", $3}')
  row "$round" pgbench "$tps"
  for strategy in batched striped naive; do row "$round" "$strategy" "$(payments $strategy)"; done
  for strategy in batched striped naive; do
    row "$round" "$strategy, Zipf 2.0" "$(payments $strategy --set data.pick=zipf --set data.exponent=2.0)"
  done
done
echo
# shellcheck disable=SC2086
for what in pgbench batched striped naive 'batched, Zipf 2.0' 'striped, Zipf 2.0' 'naive, Zipf 2.0'; do
  printf 'median  %-24s %14s\n' "$what" "$(median ${all[$what]})"
done
