#!/usr/bin/env bash
# Ten thousand connections, each of which carries requests in turn, at 5,000/s.
#
#   benches/connections.sh [ROUNDS] [CONNECTIONS]
source "$(dirname "$0")/common.sh"
rounds=${1:-5} connections=${2:-10000}
cargo build --release -q -p squall
start_server
tmp=$(mktemp -d)
machine
echo "== 5k/s over $connections connections"
row_head
for round in $(seq "$rounds"); do
  squall_row "$round" benches/open_loop.toml --set "load.connections=$connections" --set load.max_in_flight=20000 \
    --set phase.warm-up.rate=5k/s --set phase.hold.rate=5k/s
done
