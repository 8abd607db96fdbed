#!/usr/bin/env bash
# The proxy beside HAProxy in TCP mode and beside no proxy: requests a second and latency of wrk against the same trivial server,
# in turn, on the same cores. Then its API: how long a toxic's removal takes under stalled connections, and a thousand proxies.
#
#   benches/proxy.sh [ROUNDS] [SECONDS]      default: 5 rounds, 4 s a run
#
# Needs wrk (benches/peers.sh) and haproxy (Debian's package).
source "$(dirname "$0")/common.sh"
rounds=${1:-5} seconds=${2:-4} connections=50
cargo build --release -q -p squall
start_server
proxies=()
tmp=$(mktemp -d)
trap 'kill "${server_PID:-}" "${proxies[@]}" 2>/dev/null || true; rm -rf "${tmp:-}"' EXIT
export LD_LIBRARY_PATH="$PWD/$peers/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
wrk=$peers/bin/wrk

cat >"$tmp/haproxy.cfg" <<CONFIG
global
  nbthread $(nproc)
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen proxied
  bind 127.0.0.1:9100
  server one $addr
CONFIG
haproxy -db -f "$tmp/haproxy.cfg" >"$tmp/haproxy.log" 2>&1 &
proxies+=($!)
"$target/squall" chaos proxy --port 9102 --seed 1 2>"$tmp/proxy.log" &
proxies+=($!)
api=http://127.0.0.1:9102
for _ in $(seq 100); do curl -sf "$api/version" >/dev/null && break || sleep 0.1; done
make() {
  curl -sf -X POST "$api/proxies" \
    -d "{\"name\":\"$1\",\"listen\":\"127.0.0.1:$2\",\"upstream\":\"$addr\",\"protocol\":\"${3:-tcp}\"}" >/dev/null
}
make proxied 9101
# One that reads each request, as toxics on single requests need it.
make reading 9103 http

# "requests/s p50-µs p99-µs" of one run: CONNECTIONS PORT
ask() {
  "$wrk" -t2 -c"$1" -d"${seconds}s" --latency "http://127.0.0.1:$2/" >"$tmp/out"
  awk 'function us(t) { return t ~ /us$/ ? t + 0 : t ~ /ms$/ ? t * 1000 : t * 1000000 }
       /Requests\/sec/ { r = $2 } $1 == "50%" { p50 = us($2) } $1 == "99%" { p99 = us($2) } END { print r, p50, p99 }' "$tmp/out"
}

machine
echo "# wrk, 2 threads, $seconds s a run; a trivial one-thread server behind each; all of them share the cores"
for count in $connections 2; do
  echo "== $count connections"
  printf '%-6s %-10s %12s %9s %9s\n' round through requests/s 'p50 µs' 'p99 µs'
  declare -A rps=() p50=()
  for round in $(seq "$rounds"); do
    for through in none haproxy squall toxics http; do
      case $through in
        none) port=9099 ;;
        haproxy) port=9100 ;;
        # The same, while ten other proxies have a toxic each.
        toxics)
          port=9101
          for n in $(seq 10); do
            make "other-$n" 0
            curl -sf -X POST "$api/proxies/other-$n/toxics" -d '{"type":"latency","attributes":{"latency":100}}' >/dev/null
          done
          ;;
        squall) port=9101 ;;
        http) port=9103 ;;
      esac
      read -r r half most < <(ask "$count" "$port")
      if [ "$through" = toxics ]; then
        for n in $(seq 10); do curl -sf -X DELETE "$api/proxies/other-$n"; done
      fi
      rps[$through]+=" $r" p50[$through]+=" $half"
      printf '%-6s %-10s %12.0f %9.0f %9.0f\n' "$round" "$through" "$r" "$half" "$most"
    done
  done
  for through in none haproxy squall toxics http; do
    # shellcheck disable=SC2086
    r=$(median ${rps[$through]}) h=$(median ${rps[haproxy]}) half=$(median ${p50[$through]})
    printf '%-6s %-10s %12.0f %9.0f %9s   %.2f × haproxy\n' median "$through" "$r" "$half" '' "$(awk "BEGIN {print $r / $h}")"
  done
done

echo "== the API"
python3 - 127.0.0.1 9102 9101 <<'PY'
import http.client, json, socket, sys, time
host, api, front = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
control = http.client.HTTPConnection(host, api)
def call(method, path, body=None):
    began = time.perf_counter()
    control.request(method, path, json.dumps(body) if body is not None else None)
    answer = control.getresponse(); answer.read()
    assert answer.status < 300, (method, path, answer.status)
    return 1000 * (time.perf_counter() - began)
request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
stalled = [socket.create_connection((host, front)) for _ in range(1000)]
took, freed = [], []
for _ in range(100):
    call("POST", "/proxies/proxied/toxics", {"type": "bandwidth", "attributes": {"rate": 0}})
    for one in stalled:
        one.sendall(request)
    began = time.perf_counter()
    took.append(call("DELETE", "/proxies/proxied/toxics/bandwidth_downstream"))
    for one in stalled:
        assert one.recv(4096)
    freed.append(1000 * (time.perf_counter() - began))
took.sort(); freed.sort()
print(f"DELETE of a toxic with 1,000 stalled connections, 100 times: p50 {took[49]:.2f} ms, p99 {took[98]:.2f} ms, max {took[99]:.2f} ms")
print(f"until all of the thousand have their answers: p50 {freed[49]:.0f} ms, p99 {freed[98]:.0f} ms")
began = time.perf_counter()
for n in range(1000):
    call("POST", "/proxies", {"name": f"p{n}", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9099"})
print(f"1,000 proxies made one after another: {time.perf_counter() - began:.2f} s")
PY
