#!/usr/bin/env bash
# Installs the packages that Sluice is built from and runs with, on Debian 12 and 13 and on Ubuntu
# 22.04 and 24.04. Asks nothing, and touches nothing when everything is there already.
#
#   deploy/install-deps.sh           to build and to run
#   deploy/install-deps.sh --tests   and what the tests use
#   deploy/install-deps.sh --check   installs nothing; exits 1 and names what is missing
set -euo pipefail

with_tests=no
check_only=no
for arg in "$@"; do
    case "$arg" in
    --tests) with_tests=yes ;;
    --check) check_only=yes ;;
    -h | --help)
        sed -n '2,7s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        echo "install-deps: unknown option $arg (see --help)" >&2
        exit 2
        ;;
    esac
done

say() { echo "install-deps: $*"; }
fail() {
    echo "install-deps: $*" >&2
    exit 1
}

# A word with bars is a choice: the first that is installed, or else that apt knows, counts. (The
# C half of msgpack changed its package's name between these releases.)
packages=(
    build-essential cmake ninja-build pkg-config
    libuv1-dev libnng-dev "libmsgpack-c-dev|libmsgpack-dev" libhiredis-dev libxxhash-dev
    libyaml-dev libjansson-dev
    redis-server procps
)
test_packages=(
    libcmocka-dev python3 python3-msgpack nng-utils iproute2 nftables
    clang clang-format clang-tidy
    spin valgrind nanomsg-utils
)
[ "$with_tests" = no ] || packages+=("${test_packages[@]}")

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

apt_knows() {
    [[ $(LC_ALL=C apt-cache policy "$1" 2>/dev/null) == *"Candidate: "[^\(]* ]]
}

# Prints the one of the alternatives "a|b" to install; nothing if one of them is installed.
missing_of() {
    local name
    for name in ${1//|/ }; do
        ! is_installed "$name" || return 0
    done
    for name in ${1//|/ }; do
        if apt_knows "$name"; then
            echo "$name"
            return 0
        fi
    done
    echo "${1%%|*}"
}

# The sanitizers and libFuzzer of clang's own version, if they are a package of their own: in Ubuntu
# 22.04 they are part of clang.
clang_runtime() {
    local version name
    version=$(LC_ALL=C apt-cache depends clang 2>/dev/null | sed -nE 's/.*Depends: clang-([0-9]+)$/\1/p' | head -n 1)
    name=libclang-rt-$version-dev
    if [ -n "$version" ] && ! is_installed "$name" && apt_knows "$name"; then
        echo "$name"
    fi
}

find_missing() {
    missing=()
    local package name
    for package in "${packages[@]}"; do
        name=$(missing_of "$package")
        [ -z "$name" ] || missing+=("$name")
    done
    [ "$with_tests" = no ] || for name in $(clang_runtime); do missing+=("$name"); done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo --non-interactive env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail "this system has no apt. Install the like of these yourself: ${packages[*]}"

find_missing
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if [ "$check_only" = yes ]; then
    fail "missing: ${missing[*]}"
fi
if [ "$(id -u)" -ne 0 ] && ! sudo --non-interactive true 2>/dev/null; then
    fail "some packages are missing and neither root nor sudo without a password is at hand. Run:
    sudo apt-get install --no-install-recommends ${missing[*]}"
fi

export DEBIAN_FRONTEND=noninteractive
had_redis=no
! is_installed redis-server || had_redis=yes

# A fresh container has no package lists, and an old machine has stale ones. One retry: mirrors
# hiccup.
say "fetching package lists"
as_root apt-get update -qq || {
    sleep 3
    as_root apt-get update -qq || fail "apt-get update failed: is this machine online?"
}
find_missing # again: what apt knows may have changed the choice of names

say "installing ${missing[*]}"
as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install the packages above; the lines before this one say why"

# Debian starts a Redis of its own when it is installed. Sluice's scripts start private ones, so one
# that was not here before is not left running.
if [ "$had_redis" = no ] && [ -d /run/systemd/system ]; then
    as_root systemctl disable --now redis-server >/dev/null 2>&1 || true
fi

find_missing
[ ${#missing[@]} -eq 0 ] || fail "still missing after the installation: ${missing[*]}"
say "done"
