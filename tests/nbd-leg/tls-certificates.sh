#!/usr/bin/env bash
# Legs behind TLS with certificates: only the server that is meant is believed.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

need certtool

# Certificates, and whose they are.
make_ca ()
{
  local dir=$1 name=$2

  mkdir "$dir"
  certtool --generate-privkey --key-type ecdsa --outfile "$dir/ca-key.pem"
  printf 'cn = "test"\nca\ncert_signing_key\n' > "$dir/ca.info"
  certtool --generate-self-signed --load-privkey "$dir/ca-key.pem" \
    --template "$dir/ca.info" --outfile "$dir/ca-cert.pem"
  certtool --generate-privkey --key-type ecdsa --outfile "$dir/server-key.pem"
  printf 'cn = "%s"\ndns_name = "%s"\ntls_www_server\n' "$name" "$name" \
    > "$dir/server.info"
  certtool --generate-certificate --load-privkey "$dir/server-key.pem" \
    --load-ca-certificate "$dir/ca-cert.pem" \
    --load-ca-privkey "$dir/ca-key.pem" --template "$dir/server.info" \
    --outfile "$dir/server-cert.pem"
  mkdir "$dir/client"
  cp "$dir/ca-cert.pem" "$dir/client/"
} >>"$TMP/certtool.log" 2>&1
make_ca "$TMP/good" localhost
make_ca "$TMP/other" localhost
make_ca "$TMP/named" elsewhere.example

# over_tcp NAME CERTIFICATES: starts it, and sets port.
over_tcp ()
{
  start_tcp_nbdkit "$1" --tls=require --tls-certificates="$2" memory 1M
}
over_tcp good "$TMP/good"
leg_open "nbds://localhost:$port/?tls-certificates=$TMP/good/client" 20000 2
expect ok write 0 100 1
expect ok read 0 100 1
leg_close
leg_refused "nbds://localhost:$port/?tls-certificates=$TMP/other/client"
# What libnbd would not verify is refused.
leg_refused "nbds://localhost:$port/" EPROTO
leg_refused "nbds://localhost:$port/?tls-certificates=$TMP/nowhere" ENOENT
leg_refused "nbds+unix:///?socket=$TMP/none.sock&tls-certificates=$TMP/good/client" EPROTO
over_tcp named "$TMP/named"
leg_refused "nbds://localhost:$port/?tls-certificates=$TMP/named/client"
