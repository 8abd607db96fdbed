#!/usr/bin/env bash
# Payments against the reference service on its embedded, durable store, on the same cores:
# verdict, latency, and how much of the machine service and generator take together.
#
#   benches/payments.sh [ROUNDS] [SCENARIO] [ARGS of squall run...]     default: 3 rounds of steady-10k
source "$(dirname "$0")/common.sh"
rounds=${1:-3} scenario=${2:-steady-10k}
shift $(($# > 2 ? 2 : $#))
cargo build --release -q -p squall
make_tmp
machine
echo "== $scenario $*"
row_head
TIMEFORMAT='%R %U %S'
for round in $(seq "$rounds"); do
  # The service is squall's child, so its CPU time is in the sum.
  { time squall_row "$round" "$scenario" "$@"; } 2>"$tmp/times"
  tail -n 1 "$tmp/times" | awk -v cpus="$(nproc)" \
    '{printf "           service + generator: %.1f s CPU in %.1f s = %.0f %% of %d cores\n", $2 + $3, $1, 100 * ($2 + $3) / $1 / cpus, cpus}'
done
