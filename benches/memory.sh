#!/usr/bin/env bash
# The generator's resident memory after 10 s and after 5 minutes at 50,000/s.
#
#   benches/memory.sh [SECONDS]
source "$(dirname "$0")/common.sh"
seconds=${1:-300}
cargo build --release -q -p squall
start_server
tmp=$(mktemp -d)
machine
"$target/squall" run benches/open_loop.toml --set "phase.hold.duration=${seconds}s" --ui none --out "$tmp/run" >"$tmp/out.txt" 2>&1 &
pid=$!
rss() { awk '/^VmRSS/ {print $2}' "/proc/$pid/status"; }
# Two seconds are the warm-up's.
sleep 12
early=$(rss)
echo "after 10 s: $early KiB"
for at in 60 120 180 240; do
  if [ "$at" -lt "$seconds" ]; then
    sleep $((at > 60 ? 60 : 50))
    echo "after $at s: $(rss) KiB"
    last=$at
  fi
done
sleep $((seconds - ${last:-10} - 3))
late=$(rss)
awk -v a="$early" -v b="$late" -v s="$((seconds - 3))" 'BEGIN {printf "after %d s: %d KiB, %.1f %% more than after 10 s\n", s, b, 100 * (b / a - 1)}'
wait "$pid" || true
head -n 6 "$tmp/out.txt"
