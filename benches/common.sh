# What the benchmark scripts share. Sourced, not run.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}/release
peers=benches/.peers
addr=127.0.0.1:9099

# What the figures were measured on: processor, cores, kernel, date, commit.
machine() {
  echo "# $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | sed 's/^ //'), $(nproc --all) cpus, $(uname -sr), $(date -u +%F), $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit')"
}

# The lower median of the arguments.
median() { printf '%s\n' "$@" | sort -g | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }

# Reads a number or a word out of JSON on standard input: field KEY.PATH
field() {
  python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."):
    value = value[key] if isinstance(value, dict) else None
print("-" if value is None else value)' "$1"
}

# Starts the trivial server with the given further arguments and waits until it listens; it ends
# with the script.
start_server() {
  cargo build --release -q -p squall-engine --examples
  ulimit -n "$(ulimit -Hn)"
  coproc server { "$target/examples/trivial_server" "$addr" "$@"; }
  # shellcheck disable=SC2154
  trap 'kill "${server_PID:-}" 2>/dev/null || true; rm -rf "${tmp:-}"' EXIT
  read -r _ <&"${server[0]}"
}

# A folder for what is thrown away afterwards, on the disk of the repository unless BENCH_DIR says
# otherwise: a service's durability must be measured on a real disk.
make_tmp() {
  tmp=$(mktemp -d -p "${BENCH_DIR:-.}" bench-tmp.XXXXXX)
  trap 'rm -rf "$tmp"' EXIT
}

# Runs `squall run ARGS` into $tmp/run and prints one line of figures after the label.
squall_row() {
  local label=$1
  shift
  rm -rf "$tmp/run"
  local status=0
  "$target/squall" run "$@" --ui none --out "$tmp/run" >"$tmp/out.txt" 2>&1 || status=$?
  if [ ! -f "$tmp/run/summary.json" ]; then
    # What it said is a result too.
    cat "$tmp/out.txt"
    return 1
  fi
  python3 - "$label" "$status" "$tmp/run/summary.json" <<'PY'
import json, sys
label, status, path = sys.argv[1:]
s = json.load(open(path))
l, r, lag, g = s["load"], s["latency_ms"]["response"], s["latency_ms"]["schedule_lag"], s["generator"]
ms = lambda v: "-" if v is None else f"{v:.3g}"
print(f"{label:<10} {s['verdict']['run']:<8} {l['planned_rps']:>9.0f} {l['achieved_rps']:>9.0f} "
      f"{l['failed'] + l['dropped']:>7} {ms(lag['p50']):>8} {ms(lag['p99']):>8} {ms(lag['max']):>8} "
      f"{ms(r['p50']):>8} {ms(r['p99']):>8} {100 * (g['cpu_utilisation'] or 0):>5.0f} % {g['cpu_us_per_request'] or 0:>7.2f}")
for reason in s["verdict"]["reasons"]:
    print("           ·", reason)
PY
}

# The same of payments against the reference service, and what they took of the machine: the service is squall's child,
# so its CPU time is in the sum.
payments_row() {
  local TIMEFORMAT='%R %U %S'
  { time squall_row "$@"; } 2>"$tmp/times"
  tail -n 1 "$tmp/times" | awk -v cpus="$(nproc)" \
    '{printf "           service + generator: %.1f s CPU in %.1f s = %.0f %% of %d cores\n", $2 + $3, $1, 100 * ($2 + $3) / $1 / cpus, cpus}'
}

row_head() {
  printf '%-10s %-8s %9s %9s %7s %8s %8s %8s %8s %8s %7s %7s\n' round verdict planned/s achieved/s lost \
    'lag p50' p99 max 'resp p50' p99 CPU 'µs/req'
  echo "# lag and response in ms; lost: failed and dropped; CPU of the generator's workers"
}

# Starts a Postgres server of its own on $port, durable as it comes, with its files in $tmp; $server is its URL without a
# database. It ends with the script, and so does whatever else is in $children.
children=()
start_postgres() {
  local data owner=()
  programs=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  port=54399 server=postgres://postgres@127.0.0.1:54399
  chmod 755 "$tmp"
  mkdir "$tmp/data"
  if [ "$(id -u)" = 0 ]; then
    chown postgres "$tmp/data"
    owner=(setpriv --reuid=postgres --regid=postgres --clear-groups)
  fi
  data=$(realpath "$tmp/data")
  (cd / && "${owner[@]}" "$programs/initdb" -A trust -U postgres -D "$data" >/dev/null)
  # All but the memory as it comes: fsync and synchronous_commit are on.
  (cd / && exec "${owner[@]}" "$programs/postgres" -D "$data" -p "$port" -h 127.0.0.1 -c unix_socket_directories= \
    -c shared_buffers=512MB -c max_wal_size=4GB) >"$tmp/postgres.log" 2>&1 &
  children+=($!)
  trap 'kill -INT "${children[@]}" 2>/dev/null; wait; rm -rf "$tmp"' EXIT
  for _ in $(seq 100); do psql -q "$server/postgres" -c 'SELECT 1' >/dev/null 2>&1 && break || sleep 0.1; done
}

# Starts the reference service as $service, with the given settings, and waits until it listens.
start_target() {
  "$target/squall" target --listen 127.0.0.1:9098 --admin 127.0.0.1:9097 "$@" 2>>"$tmp/service.log" &
  service=$!
  for _ in $(seq 600); do (: </dev/tcp/127.0.0.1/9098) 2>/dev/null && return || sleep 0.1; done
  cat "$tmp/service.log" >&2
  return 1
}

# Drains it.
stop_target() { kill -TERM "$service" && wait "$service"; }
