#!/bin/bash
# Set up and run every check and test: ./test.sh [PYTEST ARGUMENTS]; ./test.sh --set-up does no more.
#
# Makes .venv from requirements/test.txt. As root it also installs the Debian packages and the
# system users that the integration tests need; without root those tests are skipped and listed.
set -euo pipefail
cd "$(dirname "$0")"

readonly PACKAGES=(libpam-python pamtester sudo python3-venv shellcheck mandoc make git strace
    systemd-container dbus libpam-systemd gcc libc6-dev libpam0g-dev valgrind
    mmdebstrap build-essential debhelper dh-apparmor dpkg-dev lintian apparmor)
# The distribution's interpreter: the service user must be able to read its library, which it
# cannot where a version manager keeps it in somebody's home.
readonly PYTHON=${PYTHON:-/usr/bin/python3}

say() { printf '\n== %s\n' "$*"; }

install_packages() {
    local package missing=()
    for package in "${PACKAGES[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] \
            || missing+=("$package")
    done
    if ((${#missing[@]})); then
        say "installing ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}" \
            </dev/null >/dev/null
    fi
}

create_service_users() {
    local user
    for user in faceid faceid-keeper; do
        getent passwd "$user" >/dev/null && continue
        say "creating the system user $user"
        useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin "$user"
    done
}

make_environment() {
    local stamp=.venv/requirements.sha256
    if ! sha256sum --check --status "$stamp" 2>/dev/null; then
        say "making .venv with $($PYTHON --version)"
        rm -rf .venv
        "$PYTHON" -m venv .venv
        packaging/again.sh .venv/bin/pip install --quiet --disable-pip-version-check \
            --require-hashes --only-binary :all: -r requirements/test.txt
        .venv/bin/pip install --quiet --disable-pip-version-check \
            --no-deps --no-build-isolation --no-index --editable .
        sha256sum requirements/test.txt pyproject.toml >"$stamp"
    fi
}

main() {
    if ((EUID == 0)); then
        install_packages
        create_service_users
    else
        say "not root: the tests marked 'root' (libpam, sudo, installation) are left out"
    fi
    make_environment
    [[ ${1-} != --set-up ]] || return 0

    local failed=0
    say "checks"
    make --no-print-directory --keep-going check || failed=1
    say "tests"
    .venv/bin/pytest "$@" || failed=1
    ((failed == 0)) || { say "failed"; exit 1; }
}

main "$@"
