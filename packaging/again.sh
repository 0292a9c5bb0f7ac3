#!/bin/sh
# Run what needs a network, up to three times: again.sh COMMAND...
#
# pip tries a lost connection again, and not a download that ends too early, which it calls a wrong hash.
set -u

for pause in 3 15; do
    "$@" && exit
    printf '%s failed; once more in %s s\n' "${1##*/}" "$pause" >&2
    sleep "$pause"
done
exec "$@"
