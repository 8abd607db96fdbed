#!/usr/bin/env bash
# Asks the built service everything that its OpenAPI allows, and much that it does not. Fails at a 5xx, at
# an answer that the document does not name, and when what is wrong is accepted.
#
#   target-system/tests/fuzz-api.sh                       # on the embedded store
#   target-system/tests/fuzz-api.sh --store postgres      # in PAYMENTS_POSTGRES, else in a database of its own
#
# Further arguments are those of `payments serve`. EXAMPLES (25) is how many requests are made up for each call and
# phase; SEED makes them the same again. Needs Python 3.10 or newer; schemathesis comes from PyPI into target/.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(realpath "${CARGO_TARGET_DIR:-target}")
payments=${PAYMENTS_BINARY:-$target/debug/payments}
venv=$target/fuzz-api/venv
if [ ! -x "$venv/bin/schemathesis" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check 'schemathesis==4.32.*'
fi

folder=$(mktemp -d)
secret() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
PAYMENTS_TOKEN=$(secret) PAYMENTS_ADMIN_TOKEN=$(secret)
export PAYMENTS_TOKEN PAYMENTS_ADMIN_TOKEN
# Who logs in in the document's example.
export PAYMENTS_USER=customer PAYMENTS_PASSWORD='correct horse battery staple'

# Whoever has been started ends, however this script does.
service='' database=''
end() {
  # The service drains when the pipe to its standard input closes.
  if [ -n "$service" ]; then
    exec 9>&-
    wait "$service" || true
  fi
  if [ -n "$database" ]; then
    kill -INT "$database"
    wait "$database" || true
  fi
  rm -rf "$folder"
}
trap end EXIT

# A Postgres server with its files in the folder, as the user that it runs as: not as root.
start_database() {
  local programs as=() port
  programs=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)
  if [ -z "$programs" ]; then
    echo "there is no PostgreSQL: apt-get install postgresql, or name a database as PAYMENTS_POSTGRES" >&2
    exit 1
  fi
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  mkdir "$folder/postgres"
  chmod 755 "$folder"
  if [ "$(id -u)" = 0 ]; then
    chown postgres: "$folder/postgres"
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
  fi
  (cd / && "${as[@]}" "$programs/initdb" -A trust -U postgres -N -D "$folder/postgres" >"$folder/initdb")
  "${as[@]}" "$programs/postgres" -D "$folder/postgres" -h 127.0.0.1 -p "$port" -c unix_socket_directories= \
    2>"$folder/postgres.log" &
  database=$!
  for _ in $(seq 300); do
    "$programs/pg_isready" -q -h 127.0.0.1 -p "$port" && break
    kill -0 "$database" || exit 1
    sleep 0.1
  done
  export PAYMENTS_POSTGRES=postgres://postgres@127.0.0.1:$port/postgres
}

store=(--data "$folder/ledger")
case " $* " in
*" --store postgres "*)
  store=()
  [ -n "${PAYMENTS_POSTGRES:-}" ] || start_database
  ;;
esac
mkfifo "$folder/stdin"
"$payments" serve --announce --exit-on-stdin-eof --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
  --accounts 10 --opening-balance 1000000000 "${store[@]}" "$@" <"$folder/stdin" >"$folder/announced" &
service=$!
exec 9>"$folder/stdin"
for _ in $(seq 300); do
  [ -s "$folder/announced" ] && break
  kill -0 "$service" || exit 1
  sleep 0.1
done
at=$(sed -n 's/.*"listening":"\([^"]*\)".*/\1/p' "$folder/announced")

# What it remembers of a run is nobody's but the target folder's.
config=$PWD/target-system/tests/schemathesis.toml
cd "$target/fuzz-api"
"$venv/bin/schemathesis" --config-file "$config" run "http://$at/openapi.json" \
  --header "Authorization: Bearer $PAYMENTS_TOKEN" --checks all --max-examples "${EXAMPLES:-25}" --seed "${SEED:-1}" \
  --generation-database none --no-color

# The books, after all that.
curl -fsS -H "Authorization: Bearer $PAYMENTS_TOKEN" "http://$at/v1/audit?recount=true" | grep -q '"balanced":true'
echo "the books are balanced"
