#!/bin/bash
# Build pam-faceid_VERSION_ARCHITECTURE.deb of this checkout, without a network: build.sh WHEELS OUTPUT
set -euo pipefail
umask 022

wheels=$(readlink -f "$1")
mkdir -p "$2"
output=$(readlink -f "$2")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy: what earlier builds left in the checkout does not get in, and dpkg writes beside it.
mkdir "$work/pam-faceid"
tar --create --exclude-vcs --exclude=./build --exclude=./dist --exclude=./.venv --exclude='./.*_cache' \
    --exclude=__pycache__ --exclude='*.egg-info' . | tar --extract --directory "$work/pam-faceid"
cd "$work/pam-faceid"
FACEID_WHEELS=$wheels dpkg-buildpackage --build=binary --no-sign
mv "$work"/pam-faceid_* "$output/"
