#!/bin/sh
# Build pam_faceid.so with a compiler and libpam's headers: build.sh OUTPUT [COMPILER FLAG]...
set -eu

output=$1
shift
case $(uname -m) in
    x86_64) protection=-fcf-protection ;;
    aarch64) protection=-mbranch-protection=standard ;;
    *) protection= ;;
esac
# -U: some distributions predefine it.
exec "${CC:-cc}" -std=c11 -O2 -Wall -Wextra -Wconversion -Wno-unused-parameter \
    -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-clash-protection \
    $protection -fPIC -shared -fvisibility=hidden \
    -Wl,-z,relro,-z,now,-z,noexecstack,-z,defs \
    "$@" "$(dirname "$0")/pam_faceid.c" -lpam -o "$output"
