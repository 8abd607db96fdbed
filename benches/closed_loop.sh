#!/usr/bin/env bash
# Compares the engine's HTTP path with wrk, oha and goose: closed loop, 50 connections, the same
# trivial server, in turn, several rounds. Prints requests/s and the generator's CPU per request;
# medians and ratios last. `benches/peers.sh` installs the others; one that is missing is left out.
#
#   benches/closed_loop.sh [ROUNDS] [SECONDS]
source "$(dirname "$0")/common.sh"
rounds=${1:-5} seconds=${2:-4} connections=50
start_server
tmp=$(mktemp -d)
export LD_LIBRARY_PATH="$PWD/$peers/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
TIMEFORMAT='%U %S'

# Each prints "requests cpu-seconds" of one run.
run_squall() {
  "$target/examples/closed_loop" "$addr" "$connections" "$seconds" 1 |
    python3 -c 'import json, sys; r = json.load(sys.stdin); n = r["requests_per_s"] * '"$seconds"'; print(n, n * r["cpu_us_per_request"] / 1e6)'
}
timed() {
  local requests=$1
  shift
  local cpu
  cpu=$({ time "$@" >"$tmp/out" 2>/dev/null; } 2>&1)
  echo "$(eval "$requests") $(awk '{print $1 + $2}' <<<"$cpu")"
}
run_wrk() {
  timed "awk '/requests in/ {print \$1}' $tmp/out" \
    "$peers/bin/wrk" -t1 -c"$connections" -d"${seconds}s" "http://$addr/"
}
run_oha() {
  timed "field summary.total <$tmp/out >/dev/null; python3 -c 'import json; d = json.load(open(\"$tmp/out\")); print(sum(d[\"statusCodeDistribution\"].values()))'" \
    "$peers/bin/oha" --no-tui --output-format json -c "$connections" -z "${seconds}s" "http://$addr/"
}
run_goose() {
  # All users at once, so that the ramp is no part of it; its process starts and ends with it.
  timed "tail -n 1 $tmp/out | field requests" "$peers/bin/bench-goose" --host "http://$addr" -u "$connections" \
    -r "$connections" -t "${seconds}s" --no-reset-metrics --no-print-metrics --no-telnet --no-websocket -q
}

machine
echo "# $connections connections, $seconds s a run, trivial one-thread server; CPU: user + system of the generator"
printf '%-8s %-8s %14s %18s\n' round tool requests/s 'cpu µs/request'
tools=(squall)
for tool in wrk oha goose; do
  binary=${tool/goose/bench-goose}
  if [ -x "$peers/bin/$binary" ]; then tools+=("$tool"); else echo "# $tool is missing: benches/peers.sh installs it"; fi
done
declare -A rps cpu
for round in $(seq "$rounds"); do
  for tool in "${tools[@]}"; do
    read -r requests cpu_s < <("run_$tool")
    per_s=$(awk -v n="$requests" -v s="$seconds" 'BEGIN {printf "%.0f", n / s}')
    per_request=$(awk -v n="$requests" -v c="$cpu_s" 'BEGIN {printf "%.2f", c * 1e6 / n}')
    printf '%-8s %-8s %14s %18s\n' "$round" "$tool" "$per_s" "$per_request"
    rps[$tool]+="$per_s " cpu[$tool]+="$per_request "
  done
done
echo
for tool in "${tools[@]}"; do
  # shellcheck disable=SC2086
  m_rps=$(median ${rps[$tool]}) m_cpu=$(median ${cpu[$tool]})
  printf 'median   %-8s %14s %18s' "$tool" "$m_rps" "$m_cpu"
  if [ "$tool" = squall ]; then
    our_rps=$m_rps our_cpu=$m_cpu
    echo
  else
    awk -v a="$our_rps" -v b="$m_rps" -v c="$our_cpu" -v d="$m_cpu" \
      'BEGIN {printf "   squall: %.2f x its requests/s, %.2f x its CPU per request\n", a / b, c / d}'
  fi
done
