#!/usr/bin/env bash
# A server that stands still for exactly 2 s in a uniform run of 10 s at 1,000/s. A fifth of the
# arrivals then wait, uniformly up to 2 s, so every percentile beyond the 80th is known beforehand:
# p(q) = (q - 0.8) / 0.2 x 2 s. Prints what was reported beside it.
#
#   benches/stall.sh [ROUNDS]
source "$(dirname "$0")/common.sh"
rounds=${1:-5}
cargo build --release -q -p squall
machine
for round in $(seq "$rounds"); do
  start_server 4 2
  tmp=$(mktemp -d)
  "$target/squall" run benches/stall.toml --ui none --out "$tmp/run" >"$tmp/out.txt" 2>&1 || true
  python3 - "$round" "$tmp/run/summary.json" <<'PY'
import json, sys
s = json.load(open(sys.argv[2]))
r = s["latency_ms"]["response"]
known = {"p90": 1000, "p95": 1500, "p99": 1900, "p99_9": 1990, "max": 2000, "mean": 200}
print(f"round {sys.argv[1]}: {s['load']['planned']} planned, {s['load']['ok']} ok, run {s['verdict']['run']}")
for k, v in known.items():
    print(f"  {k:<6} {r[k]:>9.1f} ms   arithmetic {v:>6} ms   {100 * (r[k] / v - 1):+.2f} %")
PY
  kill "$server_PID" 2>/dev/null || true
  wait "$server_PID" 2>/dev/null || true
  rm -rf "$tmp"
done
