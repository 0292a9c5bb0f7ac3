#!/bin/bash
# Build the guest's kernel: kernel.sh CACHE. Prints the folder with `linux` and `lib/modules`.
#
# User Mode Linux from Debian's linux-source-6.1, with v4l2loopback from v4l2loopback-dkms, both as
# apt has them. Some 5 CPU minutes; built again when this file or kernel.config changes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$1
readonly PACKAGES=(bc bison flex gcc kmod libc6-dev libelf-dev make xz-utils)

kernel=$cache/kernel-$(cat "$here"/kernel.{sh,config} | sha256sum | cut -c1-16)
if [[ -e $kernel/linux ]]; then
    echo "$kernel"
    exit
fi
exec 3>&1 1>&2

# image.sh may run beside it, and apt takes one at a time.
{
    flock 9
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
        "${PACKAGES[@]}"
} 9>"$cache/apt.lock"
work=$(mktemp --directory "$cache/kernel.XXXXXX")
chmod 0755 "$work"
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download --quiet=2 linux-source-6.1 v4l2loopback-dkms
dpkg-deb --fsys-tarfile linux-source-6.1_*.deb | tar --extract --to-stdout \
    ./usr/src/linux-source-6.1.tar.xz | tar --extract --xz
dpkg-deb --extract v4l2loopback-dkms_*.deb .
source=$work/linux-source-6.1

# It excludes Landlock, and concerns only hostfs, on which nothing of ours is protected.
sed -i '/select ARCH_EPHEMERAL_INODES/d' "$source/arch/um/Kconfig"
# When a process with a system call filter has ended, User Mode Linux would take the pages of its own
# memory away, and hang.
sed -i '/^static inline int __must_check bpf_prog_lock_ro/,/^}/{/set_vm_flush_reset_perms/d}' \
    "$source/include/linux/filter.h"
# A processor with AMX has more registers than it has room for, and takes all of them or none: those
# that no program of the guest has ever asked for are zeros.
sed -i -e '/^int restore_fp_registers/,/^}/{' \
    -e 's|iov.iov_base = fp_regs;|static char whole[16384]; memcpy(whole, fp_regs, FP_SIZE * 8);|' \
    -e 's|iov.iov_len = .*|iov.iov_base = whole; iov.iov_len = sizeof(whole);|' \
    -e '}' -e 's|#include <stdlib.h>|&\n#include <string.h>|' \
    "$source/arch/x86/um/os-Linux/registers.c"

build() { make --silent --directory="$source" --jobs="$(nproc)" ARCH=um "$@"; }
build KCONFIG_ALLCONFIG="$here/kernel.config" allnoconfig
# A name that a new version no longer knows would silently be left out.
missing=$(grep --extended-regexp '^CONFIG_\w+=[ym"]' "$here/kernel.config" \
    | grep --invert-match --line-regexp --fixed-strings --file="$source/.config" || true)
[[ -z $missing ]] || { echo "kernel.sh: not to be had in this kernel: $missing"; exit 1; }
build linux modules
build M="$(echo "$work"/usr/src/v4l2loopback-*)" modules
mkdir "$work/made"
build INSTALL_MOD_PATH="$work/made" modules_install
release=$(make --silent --directory="$source" ARCH=um kernelrelease)
mkdir "$work/made/lib/modules/$release/extra"
cp "$work"/usr/src/v4l2loopback-*/v4l2loopback.ko "$work/made/lib/modules/$release/extra"
rm -f "$work/made/lib/modules/$release"/{build,source}
depmod --basedir="$work/made" "$release"
cp "$source/linux" "$work/made/linux"
strip --strip-debug "$work/made/linux"
rm -rf "$kernel"
mv "$work/made" "$kernel"
echo "$kernel" >&3
