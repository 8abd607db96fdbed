#!/usr/bin/env bash
# Balances read from a Postgres database, without a cache and with a warm one, in turn: a closed loop asks for accounts that
# all fit into the cache. The generator has the first core to itself, the service and its servers share the others: what one read
# costs them is measured, and not what it costs to ask.
#
#   benches/reads.sh [ROUNDS] [SECONDS] [ACCOUNTS]      default: 5 rounds, 8 s a run, 1000 accounts
#
# Needs Debian's postgresql and redis-server; starts servers of its own.
source "$(dirname "$0")/common.sh"
rounds=${1:-5} seconds=${2:-8} accounts=${3:-1000}
cargo build --release -q -p squall
# Whatever is started from here on, but for the generator.
taskset -pc "1-$(($(nproc) - 1))" $$ >/dev/null
generator=(taskset -c 0)
make_tmp
start_postgres
redis-server --port 54398 --bind 127.0.0.1 --save '' --appendonly no --dir "$tmp" >"$tmp/redis.log" 2>&1 &
children+=($!)

export PAYMENTS_TOKEN=benchmark-of-payments PAYMENTS_ADMIN_TOKEN=benchmark-of-payments
export PAYMENTS_POSTGRES=$server/postgres RUST_LOG=error

# Balances a second of one run.
reads() {
  start_target --store postgres --accounts "$accounts" --opening-balance 1000000000 --cache-entries "$accounts"
  # What is in the cache is what was read: once through all of it.
  "${generator[@]}" "$target/squall" run benches/reads.toml --closed 2s --set "data.accounts=$accounts" --ui none --out "$tmp/warm" >/dev/null 2>&1 || true
  rm -rf "$tmp/warm" "$tmp/run"
  "${generator[@]}" "$target/squall" run benches/reads.toml --closed "${seconds}s" --set "data.accounts=$accounts" --seed "$RANDOM" --ui none \
    --out "$tmp/run" >"$tmp/out.txt" 2>&1 || true
  curl -s http://127.0.0.1:9098/metrics >"$tmp/metrics"
  stop_target
  python3 - "$tmp/run/summary.json" "$tmp/metrics" <<'PY'
import json, sys
s = json.load(open(sys.argv[1]))
l, t = s["load"], s["latency_ms"]["service"]
figures = dict(line.rsplit(" ", 1) for line in open(sys.argv[2]) if line.strip() and line[0] != "#")
hits = int(figures.get('cache_hits_total{level="l1"}', 0)); misses = int(figures.get('cache_misses_total{level="l1"}', 0))
share = f"{100 * hits / (hits + misses):.1f}%" if hits + misses else "-"
print(f"{l['achieved_rps']:.0f} {l['failed']} {t['p50']:.2f} {t['p99']:.2f} {share}")
PY
}

machine
echo "# $("$programs/postgres" --version), $(redis-server --version | cut -d' ' -f1-3), $seconds s a run; 64 connections to the service, $accounts accounts; the generator on a core of its own"
printf '%-7s %-14s %12s %8s %9s %9s %9s\n' round what balances/s failed 'p50 ms' 'p99 ms' 'L1 hits'
declare -A all
for round in $(seq "$rounds"); do
  for what in 'no cache' 'warm cache'; do
    case $what in
      'no cache') row=$(reads) ;;
      *) row=$(PAYMENTS_REDIS=redis://127.0.0.1:54398/0 reads) ;;
    esac
    # shellcheck disable=SC2086
    set -- $row
    printf '%-7s %-14s %12s %8s %9s %9s %9s\n' "$round" "$what" "$@"
    all[$what]+=" $1"
  done
done
echo
# shellcheck disable=SC2086
for what in 'no cache' 'warm cache'; do printf 'median  %-14s %12s\n' "$what" "$(median ${all[$what]})"; done
