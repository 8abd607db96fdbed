#!/usr/bin/env bash
# Asks the built service everything that its OpenAPI allows, and much that it does not. Fails at a 5xx, at
# an answer that the document does not name, and when what is wrong is accepted.
#
#   target-system/tests/fuzz-api.sh                       # on the embedded store
#   PAYMENTS_POSTGRES=postgres://… target-system/tests/fuzz-api.sh --store postgres
#
# Further arguments are those of `payments serve`. EXAMPLES (25) is how many requests are made up for each call and
# phase; SEED makes them the same again. Needs Python 3.10 or newer; schemathesis comes from PyPI into target/.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
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
store=(--data "$folder/ledger")
case " $* " in *" --store postgres "*) store=() ;; esac
# It drains when the pipe to its standard input closes: however this script ends.
mkfifo "$folder/stdin"
"$payments" serve --announce --exit-on-stdin-eof --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
  --accounts 10 --opening-balance 1000000000 "${store[@]}" "$@" <"$folder/stdin" >"$folder/announced" &
service=$!
exec 9>"$folder/stdin"
end() {
  exec 9>&-
  wait "$service" || true
  rm -rf "$folder"
}
trap end EXIT
for _ in $(seq 300); do
  [ -s "$folder/announced" ] && break
  kill -0 "$service" || exit 1
  sleep 0.1
done
at=$(sed -n 's/.*"listening":"\([^"]*\)".*/\1/p' "$folder/announced")

"$venv/bin/schemathesis" --config-file target-system/tests/schemathesis.toml run "http://$at/openapi.json" \
  --header "Authorization: Bearer $PAYMENTS_TOKEN" --checks all --max-examples "${EXAMPLES:-25}" --seed "${SEED:-1}" \
  --generation-database none --no-color

# The books, after all that.
curl -fsS -H "Authorization: Bearer $PAYMENTS_TOKEN" "http://$at/v1/audit?recount=true" | grep -q '"balanced":true'
echo "the books are balanced"
