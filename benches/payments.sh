#!/usr/bin/env bash
# Payments/s against the reference service on the same cores: one open-loop run of 30 s at each
# rate, with its verdict, response times, and the CPU time that service and generator took for a
# payment.
#
#   benches/payments.sh [RATE ...]        e.g. benches/payments.sh 20000 50000 60000
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 10000 30000 50000

cargo build --release -q -p payments -p squall
bin=${CARGO_TARGET_DIR:-target}/release
out=$(mktemp -d -p "${BENCH_DIR:-.}" bench-payments.XXXXXX)
export PAYMENTS_TOKEN=benches-service-token PAYMENTS_ADMIN_TOKEN=benches-admin-token
trap 'kill "${service_PID:-}" 2>/dev/null || true; rm -rf "$out"' EXIT

echo "# $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | sed 's/^ //'), $(nproc) cpus, $(uname -sr), $(date -u +%F)"
TIMEFORMAT='%U %S'
for rate in "$@"; do
  coproc service { exec "$bin/payments" serve --announce --data "$out/data-$rate" --listen 127.0.0.1:0 \
    --admin 127.0.0.1:0 --accounts 10000 --opening-balance 100000000000 2>"$out/service-$rate.err"; }
  read -r announced <&"${service[0]}"
  url=http://$(sed 's/.*"listening":"\([^"]*\)".*/\1/' <<<"$announced")
  status=0
  times=$({ time "$bin/squall" run steady-10k --target "$url" \
    --set target.token_env=PAYMENTS_TOKEN --set phase.warm-up.rate="$rate/s" \
    --set phase.steady.rate="$rate/s" --ui none --out "$out/$rate" >"$out/$rate.txt" 2>"$out/$rate.err"; } 2>&1) || status=$?
  health=$(curl -s "$url/health")
  echo "== $rate payments/s: exit $status"
  cat "$out/$rate.txt"
  figure() { sed "s/.*\"$1\":\([0-9.]*\).*/\1/" <<<"$health"; }
  awk -v n="$(figure payments)" -v cpu="$(figure cpu_s)" -v rss="$(figure rss_bytes)" \
    '{printf "CPU for a payment: service %.1f us, generator %.1f us; service memory %.0f MB\n", cpu * 1e6 / n, ($1 + $2) * 1e6 / n, rss / 1e6}' <<<"$times"
  kill -TERM "$service_PID"
  wait "$service_PID" 2>/dev/null || true
done
