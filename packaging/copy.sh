#!/bin/bash
# Copy this checkout, without what earlier builds left in it, to an empty folder: copy.sh FOLDER
set -euo pipefail
copy=$(readlink -f "$1")
cd "$(dirname "$0")/.."
tar --create --exclude-vcs --exclude=./build --exclude=./dist --exclude=./.venv --exclude='./.*_cache' \
    --exclude=__pycache__ --exclude='*.egg-info' . | tar --extract --directory "$copy"
