#!/usr/bin/env bash
# Open loop, Poisson arrivals, against the trivial server on the same cores: what the generator
# says of itself at each rate.
#
#   benches/open_loop.sh [ROUNDS] [RATE...] [-- ARGS of squall run...]   default: 5 rounds at 50k and 100k
source "$(dirname "$0")/common.sh"
rounds=${1:-5}
shift || true
rates=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  rates+=("$1")
  shift
done
shift || true
[ ${#rates[@]} -gt 0 ] || rates=(50k 100k)
cargo build --release -q -p squall
start_server
tmp=$(mktemp -d)
machine
for rate in "${rates[@]}"; do
  echo "== $rate/s, Poisson, 10 s after 2 s of warm-up${*:+, $*}"
  row_head
  for round in $(seq "$rounds"); do
    squall_row "$round" benches/open_loop.toml --set "phase.warm-up.rate=$rate/s" --set "phase.hold.rate=$rate/s" "$@"
  done
done
