#!/usr/bin/env bash
# Compares the engine's HTTP path with wrk: closed loop, 50 connections, the same trivial server,
# in turn, several rounds. Prints requests/s and the generator's CPU per request; medians last.
#
#   benches/closed_loop.sh [ROUNDS] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} seconds=${2:-4} connections=50 addr=127.0.0.1:9099

cargo build --release -q -p squall-engine --examples
bin=${CARGO_TARGET_DIR:-target}/release/examples
coproc server { "$bin/trivial_server" "$addr"; }
server_pid=$server_PID
trap 'kill "$server_pid" 2>/dev/null || true' EXIT
read -r _ <&"${server[0]}"

echo "# $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | sed 's/^ //'), $(nproc) cpus, $(uname -sr), $(date -u +%F)"
echo "# $connections connections, $seconds s a run, one generator thread, trivial one-thread server"
printf '%-8s %-8s %14s %18s\n' round tool requests/s 'cpu µs/request'
ours=() theirs=() ours_cpu=() theirs_cpu=()
median() { printf '%s\n' "$@" | sort -g | awk '{a[NR]=$1} END {print a[int((NR+1)/2)]}'; }
for round in $(seq "$rounds"); do
  line=$("$bin/closed_loop" "$addr" "$connections" "$seconds" 1)
  rps=$(sed 's/.*"requests_per_s":\([0-9.]*\).*/\1/' <<<"$line")
  cpu=$(sed 's/.*"cpu_us_per_request":\([0-9.]*\).*/\1/' <<<"$line")
  printf '%-8s %-8s %14s %18s\n' "$round" squall "$rps" "$cpu"
  ours+=("$rps") ours_cpu+=("$cpu")
  if command -v wrk >/dev/null; then
    out=$(mktemp)
    TIMEFORMAT='%U %S'
    cpu_s=$({ time wrk -t1 -c"$connections" -d"${seconds}s" "http://$addr/" >"$out"; } 2>&1)
    rps=$(awk '/Requests\/sec/ {print int($2)}' "$out")
    total=$(awk '/requests in/ {print $1}' "$out")
    cpu=$(awk -v n="$total" '{printf "%.2f", ($1 + $2) * 1e6 / n}' <<<"$cpu_s")
    rm -f "$out"
    printf '%-8s %-8s %14s %18s\n' "$round" wrk "$rps" "$cpu"
    theirs+=("$rps") theirs_cpu+=("$cpu")
  fi
done
echo
printf 'median   squall   %14s %18s\n' "$(median "${ours[@]}")" "$(median "${ours_cpu[@]}")"
if [ ${#theirs[@]} -gt 0 ]; then
  printf 'median   wrk      %14s %18s\n' "$(median "${theirs[@]}")" "$(median "${theirs_cpu[@]}")"
  awk -v a="$(median "${ours[@]}")" -v b="$(median "${theirs[@]}")" -v c="$(median "${ours_cpu[@]}")" -v d="$(median "${theirs_cpu[@]}")" \
    'BEGIN {printf "squall / wrk: %.2f x requests/s, %.2f x cpu per request\n", a / b, c / d}'
else
  echo "wrk is not installed (apt-get install wrk): nothing to compare with"
fi
