#!/bin/bash
# Build the machine: image.sh CACHE. Prints the folder with `tree/` and `disk.ext4`.
#
# A Debian 12 as apt of this machine has it, with two accounts and the programs that the scenarios
# log in through, and nothing of pam_faceid. The guest boots a copy-on-write view of disk.ext4; a
# container may take tree/. Built again when this file, orders.py or overlay/ changes.
# E2E_RELEASE=trixie or noble: a Debian 13 or Ubuntu 24.04, from where mmdebstrap knows it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$1
release=${E2E_RELEASE:-bookworm}

readonly BOOTED=(systemd-sysv udev dbus dbus-user-session libpam-systemd kmod procps)
# What install.sh would fetch, and a compiler for the native client: the guest has no network.
readonly INSTALLED=(libpam-python python3-venv gcc libc6-dev libpam0g-dev logrotate apparmor)
readonly LOGINS=(sudo login passwd openssh-server openssh-client polkitd pkexec
    gdm3 gir1.2-gdm-1.0 python3-gi
    xvfb xserver-xorg-core xserver-xorg-video-dummy xdotool i3lock xsecurelock)
readonly DEVICES=(v4l-utils swtpm tpm2-tools psmisc)
hash=$(cd "$here" && find image.sh orders.py overlay -type f -print0 | sort -z | xargs -0 cat | sha256sum)
image=$cache/image-$release-${hash:0:16}
if [[ -e $image/disk.ext4 ]]; then
    echo "$image"
    exit
fi
exec 3>&1 1>&2

# kernel.sh may run beside it, and apt takes one at a time.
{
    flock 9
    for tool in mmdebstrap:mmdebstrap mkfs.ext4:e2fsprogs; do
        command -v "${tool%:*}" >/dev/null && continue
        apt-get update --quiet=2
        DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
            "${tool#*:}"
    done
} 9>"$cache/apt.lock"
work=$(mktemp --directory "$cache/image.XXXXXX")
chmod 0755 "$work"
trap 'rm -rf "$work"' EXIT
packages=("${BOOTED[@]}" "${INSTALLED[@]}" "${LOGINS[@]}" "${DEVICES[@]}")
from=("$release" "$work/tree")
case $release in
    bookworm)
        # shellcheck disable=SC2016 # apt puts these in
        mapfile -t sources < <(apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' \
            'Created-By: Packages' | sort --unique)
        from+=("${sources[@]}")
        ;;
    noble)
        # Debian has Ubuntu's keys from 13 on.
        mmdebstrap --quiet --variant=extract --include=ubuntu-archive-keyring trixie "$work/keys"
        from=("--components=main universe" "${from[@]}"
            --keyring="$work/keys/usr/share/keyrings/ubuntu-archive-keyring.gpg")
        ;;
esac
mmdebstrap --verbose --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
    --aptopt='Acquire::Retries "3"' --dpkgopt=force-unsafe-io \
    --dpkgopt=path-exclude=/usr/share/doc/* --dpkgopt=path-exclude=/usr/share/locale/* \
    --dpkgopt=path-exclude=/usr/share/backgrounds/* \
    "${from[@]}" >"$cache/image.log" 2>&1 \
    || { tail -n 40 "$cache/image.log"; exit 1; }
cp --recursive "$here/overlay/." "$work/tree/"
install -D --mode=0644 "$here/orders.py" "$work/tree/usr/local/lib/bed/orders.py"
mkdir "$work/tree/lib/modules"  # those of the guest's kernel are not in the image
chroot "$work/tree" /bin/bash -s <<'SETUP'
set -euo pipefail
echo bed >/etc/hostname
printf '127.0.0.1 localhost bed\n::1 localhost\n' >/etc/hosts
useradd --create-home --shell /bin/bash --groups sudo alice
useradd --create-home --shell /bin/bash bob
printf 'alice:a good password\nbob:another password\n' | chpasswd
echo 'alice ALL=(ALL) ALL' >/etc/sudoers.d/alice
chmod 0440 /etc/sudoers.d/alice
systemctl --quiet disable gdm3 e2scrub_reap.service apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer fstrim.timer systemd-timesyncd 2>/dev/null || true
systemctl --quiet mask getty@tty1.service console-getty.service e2scrub_all.timer
systemctl --quiet --global mask pipewire.socket pipewire-pulse.socket pipewire.service \
    pipewire-pulse.service wireplumber.service
systemctl --quiet enable bed-orders.service
systemctl --quiet set-default multi-user.target
rm -f /etc/systemd/system/display-manager.service
SETUP
truncate --size=8G "$work/disk.ext4"
mkfs.ext4 -q -L root -d "$work/tree" "$work/disk.ext4"
rm -rf "$image" "$work/keys"
mv "$work" "$image"
trap - EXIT
echo "$image" >&3
