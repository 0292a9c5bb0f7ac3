#!/bin/bash
# Build the machine with a screen: image.sh CACHE. Prints the folder with vmlinuz, initrd.img and disk.ext4.
#
# The bed's Debian, with Debian's own kernel, v4l2loopback for it, and gdm started at boot. Built again
# when this file, overlay/ or the bed's image changes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$1

bed=$("$here/../bed/image.sh" "$cache")
hash=$({ basename "$bed"; cd "$here" && find image.sh overlay -type f -print0 | sort -z | xargs -0 cat; } | sha256sum)
image=$cache/greeter-${hash:0:16}
if [[ -e $image/disk.ext4 ]]; then
    echo "$image"
    exit
fi
exec 3>&1 1>&2

{
    flock 9
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
        qemu-system-x86 qemu-utils
} 9>"$cache/apt.lock"
work=$(mktemp --directory "$cache/greeter.XXXXXX")
tree=$work/tree
trap 'umount --lazy --quiet "$tree/proc" || true; rm -rf --one-file-system "$work"' EXIT
cp --archive --reflink=auto "$bed/tree" "$tree"
cp --recursive "$here/overlay/." "$tree/"
# It reaches packages as this machine does.
cp --dereference --remove-destination /etc/resolv.conf "$tree/etc/resolv.conf"
cp --recursive --no-target-directory /etc/apt/apt.conf.d "$tree/etc/apt/apt.conf.d"
mount -t proc proc "$tree/proc"
chroot "$tree" /bin/bash -s >"$cache/greeter.log" 2>&1 <<'SETUP' || { tail -n 40 "$cache/greeter.log"; exit 1; }
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
# An initrd for this machine alone: under emulation a large one takes a minute to unpack.
mkdir -p /etc/initramfs-tools/conf.d
echo MODULES=list >/etc/initramfs-tools/conf.d/bed
printf '%s\n' virtio_pci virtio_blk ext4 >/etc/initramfs-tools/modules
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \
    initramfs-tools linux-image-amd64 linux-headers-amd64 v4l2loopback-dkms
apt-get clean
rm -rf /var/lib/apt/lists/*
echo virtio_gpu >/etc/modules-load.d/bed.conf
ln -s /lib/systemd/system/gdm.service /etc/systemd/system/display-manager.service
systemctl --quiet set-default graphical.target
SETUP
umount "$tree/proc"
rm "$tree/etc/resolv.conf"
mv "$tree"/boot/vmlinuz-* "$work/vmlinuz"
mv "$tree"/boot/initrd.img-* "$work/initrd.img"
truncate --size=8G "$work/disk.ext4"
mkfs.ext4 -q -L root -d "$tree" "$work/disk.ext4"
rm -rf --one-file-system "$tree" "$image"
mv "$work" "$image"
chmod 0755 "$image"
trap - EXIT
echo "$image" >&3
