#!/bin/sh
# Fetch the pinned wheels for this machine's Python: fetch.sh FOLDER
#
# What builds a package afterwards needs no network; each wheel is compared with its pin again there.
set -eu

folder=$1
again=$(dirname "$0")/again.sh
requirements=$(cd "$(dirname "$0")/../requirements" && pwd)
pins="$requirements/install.txt $requirements/build.txt"
python=/usr/bin/python3
stamp=$folder/complete
fingerprint=$({ cat "$requirements/install.txt" "$requirements/build.txt" && "$python" -VV; } | sha256sum)
[ "$(cat "$stamp" 2>/dev/null)" != "$fingerprint" ] || exit 0

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools"
rm -rf "$folder"
mkdir -p "$folder"
for pin in $pins; do
    "$again" "$tools/bin/python" -I -m pip --quiet --disable-pip-version-check --no-input download \
        --require-hashes --only-binary :all: --dest "$folder" -r "$pin"
done
printf '%s\n' "$fingerprint" >"$stamp"
