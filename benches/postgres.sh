#!/usr/bin/env bash
# Payments on Postgres beside pgbench's TPC-B-like transactions: the same server with its usual durability, the
# same number of connections, in turn. Uniform accounts, then hot ones (Zipf 2.0). Every strategy on one database: a
# start with `striped` divides its accounts, the next one with another strategy folds them back. And `batched` on two databases
# of that server, among which half of the payments go from one to the other.
#
#   benches/postgres.sh [ROUNDS] [CONNECTIONS] [SECONDS]      default: 5 rounds, 16 connections, 8 s a run
#
# Needs Debian's postgresql; starts a server of its own in a folder of its own.
source "$(dirname "$0")/common.sh"
rounds=${1:-5} connections=${2:-16} seconds=${3:-8}
cargo build --release -q -p squall
make_tmp
start_postgres
psql -q "$server/postgres" -c 'CREATE DATABASE pgbench' -c 'CREATE DATABASE payments' \
  -c 'CREATE DATABASE first' -c 'CREATE DATABASE second'
# More branches than connections, or it would measure locks (pgbench's manual).
"$programs/pgbench" -q -i -s 50 "$server/pgbench" >/dev/null 2>&1

export PAYMENTS_TOKEN=benchmark-of-payments PAYMENTS_ADMIN_TOKEN=benchmark-of-payments
export PAYMENTS_POSTGRES=$server/payments RUST_LOG=error

# Payments a second of one run with the given strategy; further arguments go to squall.
payments() {
  local strategy=$1
  shift
  start_target --store postgres --strategy "$strategy" --pool-max "$connections" --accounts 100000 --opening-balance 1000000000
  rm -rf "$tmp/run"
  "$target/squall" run benches/postgres.toml --closed "${seconds}s" --seed "$RANDOM" --ui none --out "$tmp/run" "$@" \
    >"$tmp/out.txt" 2>&1 || true
  stop_target
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
  row "$round" 'batched, 2 databases' "$(PAYMENTS_POSTGRES=$server/first,$server/second payments batched)"
  for strategy in batched striped naive; do
    row "$round" "$strategy, Zipf 2.0" "$(payments $strategy --set data.pick=zipf --set data.exponent=2.0)"
  done
done
echo
# shellcheck disable=SC2086
for what in pgbench batched striped naive 'batched, 2 databases' 'batched, Zipf 2.0' 'striped, Zipf 2.0' 'naive, Zipf 2.0'; do
  printf 'median  %-24s %14s\n' "$what" "$(median ${all[$what]})"
done
