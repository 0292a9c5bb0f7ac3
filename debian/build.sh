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
# A copy: dpkg writes beside it.
mkdir "$work/pam-faceid"
packaging/copy.sh "$work/pam-faceid"
cd "$work/pam-faceid"
FACEID_WHEELS=$wheels dpkg-buildpackage --build=binary --no-sign
mv "$work"/pam-faceid_* "$output/"
