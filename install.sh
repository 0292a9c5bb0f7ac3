#!/bin/bash
# Install, upgrade or remove pam_faceid on Debian 12/13 and Ubuntu 22.04/24.04.
#
# A version is built in a directory of its own and taken into use by renaming one symbolic link,
# so a run that fails or is interrupted leaves the version before it working. Run it again to
# repair or to upgrade.
set -euo pipefail
shopt -s nullglob
umask 022
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly SOURCE
readonly PYTHON=/usr/bin/python3
readonly PROGRAM=/opt/pam_faceid
readonly CURRENT=$PROGRAM/current
readonly HOOK=$PROGRAM/hook.py
readonly MODULE=/usr/lib/security/pam_python.so
NATIVE=/usr/lib/$(uname -m)-linux-gnu/security/pam_faceid.so
readonly NATIVE
readonly SHARE=/usr/share/pam_faceid
readonly CONFIGURATION=/etc/pam_faceid
readonly LOGS=/var/log/pam_faceid
readonly STATE=/var/lib/pam_faceid
readonly RUNTIME=/run/pam_faceid
readonly UNITS=/usr/local/lib/systemd/system
readonly SOCKETS=(faceidd.socket faceid-observer.socket)
readonly ROTATION=/etc/logrotate.d/pam_faceid
readonly ADMIN=/usr/local/sbin/faceid-admin
readonly UNDO=/usr/local/sbin/faceid-pam-undo
readonly MANUALS=/usr/local/share/man
readonly SERVICE_USER=faceid
readonly KEEPER_USER=faceid-keeper
readonly LOCK=/run/lock/pam_faceid-install

usage() {
    cat <<'TEXT'
usage: ./install.sh [--demo] [--enable SERVICE]... [--key PLACE] [--with-report] [--no-daemon]
                    [--dry-run]
       ./install.sh --uninstall [--purge [--yes]] [--dry-run]

Installs or upgrades pam_faceid. Templates, the key and an edited configuration are kept. No login
of this machine changes before --enable or 'faceid-admin pam enable' asks for it.

  --demo            then enrol one of two portraits and show prints to real PAM; cleans up
  --enable SERVICE  then let the face into a PAM service, such as sudo; may be repeated
  --key PLACE       then keep the template key in a file (as it is by itself), or sealed by systemd
                    for this machine or its TPM: file, host, tpm2 or host+tpm2
  --with-report     with matplotlib, which 'faceid-admin report' draws with: 90 MB more; kept by
                    every upgrade from then on
  --no-daemon       without faceidd: each login loads the models anew
  --dry-run         print every action and take none
  --uninstall       take the face out of every PAM service and remove the program
  --purge           with --uninstall: remove configuration, templates, key and logs as well
  --yes             do not ask before --purge
  --help            this text
TEXT
}

die() {
    printf 'install.sh: %s\n' "$1" >&2
    exit 1
}

say() { printf '%s\n' "$*"; }

run() {
    if ((DRY_RUN)); then
        printf '  %s\n' "${*@Q}"
    else
        "$@"
    fi
}

read_options() {
    DEMO=0 DAEMON=1 REPORT=0 DRY_RUN=0 UNINSTALL=0 PURGE=0 YES=0 KEY='' ENABLE=()
    while (($#)); do
        case $1 in
            --demo) DEMO=1 ;;
            --enable)
                (($# > 1)) || die "--enable needs the name of a PAM service, such as sudo"
                ENABLE+=("$2")
                shift
                ;;
            --key)
                case ${2-} in
                    file | host | tpm2 | host+tpm2) KEY=$2 ;;
                    *) die "--key needs a place: file, host, tpm2 or host+tpm2" ;;
                esac
                shift
                ;;
            --with-report) REPORT=1 ;;
            --no-daemon) DAEMON=0 ;;
            --dry-run) DRY_RUN=1 ;;
            --uninstall) UNINSTALL=1 ;;
            --purge) PURGE=1 ;;
            --yes) YES=1 ;;
            --help | -h)
                usage
                exit 0
                ;;
            *) die "unknown option $1; see ./install.sh --help" ;;
        esac
        shift
    done
    if ((PURGE && !UNINSTALL)); then die "--purge goes with --uninstall"; fi
    if ((UNINSTALL && (DEMO || REPORT || !DAEMON || ${#ENABLE[@]} || ${#KEY}))); then
        die "--uninstall goes with neither --demo, --enable, --key, --with-report nor --no-daemon"
    fi
}

check_machine() {
    local ID=unknown VERSION_ID='' PRETTY_NAME='this system' lacks=()
    # shellcheck source=/dev/null
    [[ -r /etc/os-release ]] && . /etc/os-release
    case $ID:$VERSION_ID in
        debian:12 | debian:13 | ubuntu:22.04 | ubuntu:24.04) ;;
        *)
            command -v apt-get >/dev/null || lacks+=("apt-get")
            [[ -e $MODULE ]] || lacks+=("$MODULE (libpam-python)")
            "$PYTHON" -I -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
                || lacks+=("$PYTHON, 3.10 or newer, with venv")
            die "$PRETTY_NAME is not supported; Debian 12 and 13, Ubuntu 22.04 and 24.04 are.
Missing here: $(IFS=,; printf '%s' "${lacks[*]:-nothing that was looked for, but nobody tested it}")"
            ;;
    esac
    case $(uname -m) in
        x86_64 | aarch64) ;;
        *) die "$(uname -m) is not supported: onnxruntime has wheels for x86_64 and aarch64" ;;
    esac
}

need_root() {
    ((EUID == 0 || DRY_RUN)) || die "run it as root: sudo ./install.sh"
}

# Each would overwrite, or take away, what is the other's.
leave_package_alone() {
    case $(dpkg-query -W -f '${db:Status-Status}' pam-faceid 2>/dev/null || true) in
        '' | not-installed | config-files) ;;
        *) die "the package pam-faceid is installed here: apt-get upgrades it and removes it" ;;
    esac
}

hold_lock() {
    ((DRY_RUN)) && return
    exec 9>"$LOCK"
    flock --nonblock 9 || die "another install.sh is running"
}

# place MODE FILE DESTINATION: whoever reads the destination sees the old file or the new one.
place() {
    local mode=$1 file=$2 destination=$3
    local partial
    partial=$(dirname "$destination")/.$(basename "$destination").partial
    run install -D --owner=root --group=root --mode="$mode" "$file" "$partial"
    run sync "$partial"
    run mv --force --no-target-directory "$partial" "$destination"
}

# point LINK TARGET
point() {
    run ln --symbolic --force --no-dereference "$2" "$1.partial"
    run mv --force --no-target-directory "$1.partial" "$1"
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 "$@" >/dev/null; }

install_packages() {
    local package wanted=(libpam-python python3-venv) missing=()
    ((DEMO)) && wanted+=(pamtester)
    for package in "${wanted[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] \
            || missing+=("$package")
    done
    if ((${#missing[@]})); then
        say "Installing packages: ${missing[*]}"
        run apt update
        for package in "${missing[@]}"; do
            ((DRY_RUN)) || apt-cache show "$package" >/dev/null 2>&1 \
                || die "this system's package sources have no $package, which pam_faceid needs"
        done
        run apt install --yes --no-install-recommends "${missing[@]}"
    fi
    link_module
    ((DRY_RUN)) && return
    [[ -e $MODULE ]] || die "libpam-python is installed, but $MODULE is not there"
    [[ $(ldd "$MODULE") == *libpython3* ]] || die "$MODULE runs Python 2; the hook needs Python 3.10"
    "$PYTHON" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
        || die "$PYTHON is too old; pam_faceid needs Python 3.10"
}

# Debian 12 keeps pam_python.so at one path on every machine; releases after it do not.
link_module() {
    local elsewhere
    elsewhere=/usr/lib/$(uname -m)-linux-gnu/security/pam_python.so
    if [[ ! -e $MODULE && -e $elsewhere ]]; then
        run install -d --mode=0755 "$(dirname "$MODULE")"
        point "$MODULE" "$elsewhere"
    fi
}

create_users() {
    local user
    for user in "$SERVICE_USER" "$KEEPER_USER"; do
        getent passwd "$user" >/dev/null && continue
        say "Creating the system user $user"
        run useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin "$user"
    done
}

remove_releases_but() {
    local release
    for release in "$PROGRAM"/releases/*; do
        [[ $release == "$1" ]] || run rm -rf "$release"
    done
}

build_release() {
    local release=$1 pip wheel pins=install.txt size=110 drawing
    drawing=("$CURRENT"/lib/python3*/site-packages/matplotlib)
    # What draws was asked for now, or is there already. The pins are those of install.txt and more.
    if ((REPORT || ${#drawing[@]})); then pins=report.txt size=135; fi
    wheel=$(printf '%s\n' /usr/share/python-wheels/pip-*.whl | tail -n 1) # of python3-venv
    pip=("$release/bin/python" -I "$release/build/pip" --quiet --disable-pip-version-check --no-input
        --no-cache-dir)
    say "Building $release: downloads about $size MB"
    remove_releases_but "$(readlink -f "$CURRENT" || true)" # what a run before left unfinished
    run mkdir -p "$release/build/source" "$release/models"
    run "$PYTHON" -I -m venv --without-pip "$release"
    # pip need not be a part of what it makes, nor what builds our own package be compiled.
    run "$PYTHON" -I -m zipfile --extract "$wheel" "$release/build"
    run "$SOURCE/packaging/again.sh" "${pip[@]}" install --no-compile --require-hashes \
        --only-binary :all: -r "$SOURCE/requirements/$pins" -r "$SOURCE/requirements/build.txt"
    run cp -R "$SOURCE"/{pam_faceid,pyproject.toml,README.md,LICENSE} "$release/build/source/"
    run "${pip[@]}" install --no-compile --no-deps --no-index --no-build-isolation \
        "$release/build/source"
    run rm -rf "$release/build" "$release/bin/isympy" \
        "$release"/lib/python3*/site-packages/{sympy,mpmath,setuptools}* \
        "$release"/lib/python3*/site-packages/{_distutils_hack,distutils-precedence.pth,pkg_resources}
    run sh "$SOURCE/packaging/trim.sh" "$release"
    # As pip does: what is of another version of Python stays as it is.
    run "$release/bin/python" -I -m compileall -qq -j 0 "$release/lib" || true
    run install --mode=0644 "$SOURCE"/onnx_models/{manifest.toml,*.onnx,*.json} "$release/models/"
    run "$release/bin/python" -I -c 'import sys
from pathlib import Path
from pam_faceid.adapters.models.files import check_files
from pam_faceid.adapters.models.manifest import load_manifest
for spec in load_manifest(Path(sys.argv[1])).model: check_files(spec)' "$release/models"
    run install --mode=0644 "$SOURCE/etc/pam_faceid/config.toml" "$release/config.toml"
    run sync --file-system "$release"
}

# Beside the release: libpam loads it by its name from the folder of the machine's architecture.
build_native() {
    local release=$1
    if ! command -v cc >/dev/null || [[ ! -e /usr/include/security/pam_appl.h ]]; then
        say "Without a compiler and libpam's headers pam_faceid.so is not built: the face can go" \
            "into sudo and login through pam_python, and not into su. To have it: apt install" \
            "gcc libpam0g-dev, then run install.sh again"
        return
    fi
    say "Building pam_faceid.so"
    if ! run "$SOURCE/native/build.sh" "$release/pam_faceid.so"; then
        say "This compiler cannot build it: the face can go where pam_python may, and not into su"
    fi
}

# Like a package manager: an edited file stays, and the new default is laid beside it.
install_configuration() {
    local default=$SOURCE/etc/pam_faceid/config.toml mine=$CONFIGURATION/config.toml
    run install -d --owner=root --group=root --mode=0755 "$CONFIGURATION"
    run install -d --owner=root --group="$KEEPER_USER" --mode=0750 "$CONFIGURATION/templates"
    run install -d --owner="$KEEPER_USER" --group="$KEEPER_USER" --mode=0700 "$STATE"
    run install -d --owner="$KEEPER_USER" --group="$KEEPER_USER" --mode=0750 "$LOGS"
    # Versions before the daemon left them with root and the group of the observer.
    run chgrp --recursive "$KEEPER_USER" "$CONFIGURATION/templates"
    run chown --recursive --no-dereference "$KEEPER_USER:$KEEPER_USER" "$STATE" "$LOGS"
    if [[ ! -e $mine ]] || cmp --silent "$mine" "$CURRENT/config.toml"; then
        cmp --silent "$default" "$mine" || place 0644 "$default" "$mine"
    elif ! cmp --silent "$default" "$mine" && ! cmp --silent "$default" "$CURRENT/config.toml"; then
        say "Keeping your $mine; the new default is beside it as config.toml.new"
        place 0644 "$default" "$mine.new"
    fi
    place 0644 "$SOURCE/etc/pam.d/pam_faceid-password" /etc/pam.d/pam_faceid-password
    place 0644 "$SOURCE/etc/logrotate.d/pam_faceid" "$ROTATION"
}

create_key() {
    local key=$CONFIGURATION/template.key
    [[ -e $key || -e $CONFIGURATION/template.cred ]] && return
    say "Creating the template key"
    run "$1/bin/python" -I -c 'import sys
from pathlib import Path
from pam_faceid.adapters.vault.keys import create_key_file
create_key_file(Path(sys.argv[1]))' "$key"
}

# From here on the new version answers.
take_into_use() {
    local release=$1 manual
    point "$CURRENT" "releases/$(basename "$release")"
    run install -d --mode=0755 "$SHARE"
    point "$SHARE/models" "$CURRENT/models"
    place 0644 "$SOURCE/pam_faceid/hook.py" "$HOOK"
    if ((DRY_RUN)) || [[ -e $release/pam_faceid.so ]]; then
        place 0644 "$release/pam_faceid.so" "$NATIVE"
    fi
    place 0755 "$SOURCE/pam_faceid/adapters/pam_undo.sh" "$UNDO"
    place 0755 "$SOURCE/etc/faceid-admin" "$ADMIN"
    for manual in "$SOURCE"/docs/man/*.[158]; do
        place 0644 "$manual" "$MANUALS/man${manual##*.}/$(basename "$manual")"
    done
    if ((DAEMON)); then install_daemon; else remove_daemon; fi
    remove_releases_but "$release"
}

systemd_runs() { [[ -d /run/systemd/system ]]; }

# Restarting a socket restarts its service: nothing goes on with the version before.
install_daemon() {
    local unit
    command -v systemctl >/dev/null || return 0
    for unit in "$SOURCE"/etc/systemd/*; do
        place 0644 "$unit" "$UNITS/$(basename "$unit")"
    done
    run systemctl --quiet enable "${SOCKETS[@]}"
    systemd_runs || return 0
    run systemctl daemon-reload
    if ! run systemctl restart "${SOCKETS[@]}" || ! run systemctl start faceidd.service; then
        remove_daemon
        say "faceidd does not start here, so each login loads the models anew. To find out why:
journalctl --unit=faceidd; and run install.sh again." >&2
    fi
}

remove_daemon() {
    local unit
    [[ -e $UNITS/faceidd.socket ]] || return 0
    if systemd_runs; then
        run systemctl stop "${SOCKETS[@]}" faceidd.service 'faceid-observer@*.service' || true
    fi
    run systemctl --quiet disable "${SOCKETS[@]}" || true
    for unit in "$UNITS"/faceid*; do run rm -f "$unit"; done
    run rm -rf "$RUNTIME"
    if systemd_runs; then
        run systemctl daemon-reload
        run systemctl reset-failed 'faceid*' || true
    fi
}

install_everything() {
    local release service
    release=$PROGRAM/releases/$(date -u +%Y%m%dT%H%M%SZ).$$
    trap 'say "Not finished. What was installed before still works; run install.sh again." >&2' EXIT
    install_packages
    create_users
    build_release "$release"
    build_native "$release"
    install_configuration
    create_key "$release"
    take_into_use "$release"
    trap - EXIT
    if ((!DRY_RUN)); then
        say "Installed $("$ADMIN" --version) in $SECONDS s; $(du -sh "$PROGRAM" | cut -f1)" \
            "in $PROGRAM"
    fi
    if [[ $KEY ]]; then
        run "$ADMIN" key move --to "$KEY"
    elif [[ -e /dev/tpmrm0 && -e $CONFIGURATION/template.key ]]; then
        say "This machine has a TPM, which can seal the template key:" \
            "faceid-admin key move --to host+tpm2"
    fi
    for service in "${ENABLE[@]}"; do run "$ADMIN" pam enable "$service" --yes --no-confirm-timer; done
    if ((DEMO)); then run "$ADMIN" demo; fi
}

# By a script and not through faceid-admin: it must work when the program is broken.
unhook_services() { run /bin/sh "$SOURCE/pam_faceid/adapters/pam_undo.sh" emergency-disable; }

uninstall_everything() {
    local manual user
    if ((PURGE && !YES && !DRY_RUN)); then
        [[ -t 0 ]] || die "--purge deletes every template; without a terminal it needs --yes"
        read -r -p "Delete every template, the key, the configuration and the logs? [y/N] " answer
        [[ $answer == [yY]* ]] || die "nothing was removed"
    fi
    unhook_services
    remove_daemon
    for manual in "$SOURCE"/docs/man/*.[158]; do
        run rm -f "$MANUALS/man${manual##*.}/$(basename "$manual")"
    done
    run rm -f "$NATIVE"
    run rm -rf "$ADMIN" "$UNDO" "$PROGRAM" "$SHARE" "$ROTATION" /etc/pam.d/pam_faceid-password
    if [[ -L $MODULE ]]; then
        run rm -f "$MODULE"
        run rmdir --ignore-fail-on-non-empty "$(dirname "$MODULE")"
    fi
    if ((PURGE)); then
        run rm -rf "$CONFIGURATION" "$LOGS" "$STATE" /usr/local/share/pam_faceid \
            /var/backups/pam_faceid /etc/systemd/system/faceid{d,-observer@}.service.d
        for user in "$SERVICE_USER" "$KEEPER_USER"; do
            if getent passwd "$user" >/dev/null; then run userdel "$user"; fi
        done
        say "Removed, with every template. The packages that were installed stay."
    else
        say "Removed. $CONFIGURATION, $STATE and $LOGS are kept; --uninstall --purge deletes them."
    fi
}

main() {
    read_options "$@"
    check_machine
    need_root
    leave_package_alone
    hold_lock
    if ((DRY_RUN)); then say "Dry run: nothing is changed. It would run:"; fi
    if ((UNINSTALL)); then uninstall_everything; else install_everything; fi
}

main "$@"
