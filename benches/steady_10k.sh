#!/usr/bin/env bash
# 10,000 payments/s against the reference service on the same cores: verdict, latency, and how
# much of the machine service and generator took together.
#
#   benches/steady_10k.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}

cargo build --release -q -p squall
squall=${CARGO_TARGET_DIR:-target}/release/squall
out=$(mktemp -d -p "${BENCH_DIR:-.}" bench-steady-10k.XXXXXX)
trap 'rm -rf "$out"' EXIT

echo "# $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | sed 's/^ //'), $(nproc) cpus, $(uname -sr), $(date -u +%F)"
TIMEFORMAT='%R %U %S'
for round in $(seq "$rounds"); do
  status=0
  # The service is squall's child, so its CPU time is in the sum.
  times=$({ time "$squall" run steady-10k --ui none --out "$out/$round" >"$out/$round.txt" 2>"$out/$round.err"; } 2>&1) || status=$?
  echo "== round $round: exit $status"
  cat "$out/$round.txt"
  awk -v cpus="$(nproc)" '{printf "service + generator: %.1f s CPU in %.1f s = %.0f %% of %d cores\n", $2 + $3, $1, 100 * ($2 + $3) / $1 / cpus, cpus}' <<<"$times"
done
