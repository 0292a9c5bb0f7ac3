#!/bin/bash
# Fetch the wheels of the others for the bed, which has no network: wheels.sh CACHE. Prints the folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$1

hash=$(sha256sum "$here/requirements.txt")
wheels=$cache/peers-${hash:0:16}
if [[ -e $wheels ]]; then
    echo "$wheels"
    exit
fi
exec 3>&1 1>&2

work=$(mktemp --directory "$cache/peers.XXXXXX")
trap 'rm -rf "$work"' EXIT
# With Debian's own python3.11, which is the bed's. The models are a source archive of data alone.
/usr/bin/python3 -I -m pip wheel --quiet --require-hashes --no-deps --wheel-dir "$work/wheels" \
    --requirement "$here/requirements.txt"
mv "$work/wheels" "$wheels"
echo "$wheels" >&3
