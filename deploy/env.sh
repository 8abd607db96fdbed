#!/bin/sh
# Draws the secrets of the stack. Once, from the project's folder: deploy/env.sh > .env
set -eu
draw() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
for name in POSTGRES_PASSWORD PAYMENTS_TOKEN PAYMENTS_ADMIN_TOKEN PAYMENTS_INTERNAL_TOKEN PAYMENTS_JWT_KEY PAYMENTS_PASSWORD; do
  echo "$name=$(draw)"
done
echo "PAYMENTS_USER=customer"
