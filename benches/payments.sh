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
for round in $(seq "$rounds"); do payments_row "$round" "$scenario" "$@"; done
