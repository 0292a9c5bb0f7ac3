#!/bin/bash
# Build the wheel and the sdist of this checkout, models inside, without a network: wheel.sh WHEELS OUTPUT
#
# Built twice, each is the same file.
set -euo pipefail
umask 022

wheels=$(readlink -f "$1")
mkdir -p "$2"
output=$(readlink -f "$2")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date -d "$(sed -n 's/^ -- .*>  //p;T;q' debian/changelog)" +%s)}
export SOURCE_DATE_EPOCH

/usr/bin/python3 -m venv "$work/tools"
"$work/tools/bin/python" -I -m pip --quiet --disable-pip-version-check --no-input install --no-index \
    --find-links "$wheels" --require-hashes --only-binary :all: -r requirements/build.txt
mkdir "$work/source"
packaging/copy.sh "$work/source"
cd "$work/source"
for kind in sdist wheel; do
    "$work/tools/bin/python" -c 'import sys
from setuptools import build_meta
getattr(build_meta, f"build_{sys.argv[1]}")(sys.argv[2])' "$kind" "$work/built" >/dev/null
done
mv "$work"/built/*.whl "$output/"
# setuptools writes the time of day and the builder's name into the archive.
for archive in "$work"/built/*.tar.gz; do
    tar --extract --file "$archive" --directory "$work/built"
    name=$(basename "$archive" .tar.gz)
    tar --create --directory "$work/built" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 \
        --group=0 --numeric-owner --mode=go-w "$name" | gzip --no-name --best >"$output/$name.tar.gz"
done
