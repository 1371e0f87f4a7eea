#!/usr/bin/env bash
# Installs the packages that Sluice is built from and runs with, on Debian 12 and 13 and on Ubuntu
# 22.04 and 24.04. Asks nothing, and touches nothing when everything is there already.
#
#   deploy/install-deps.sh           to build and to run
#   deploy/install-deps.sh --tests   and what the tests use
#   deploy/install-deps.sh --check   installs nothing; exits 1 and names what is missing
#
# Where the distribution's hiredis is older than 1.0 and so knows no TLS, a newer one is built from
# the source package of the distribution's next release, statically and in a directory of its own
# (SLUICE_HIREDIS_PREFIX, /usr/local/lib/sluice/hiredis). If that fails, everything works but
# rediss://.
set -euo pipefail

with_tests=no
check_only=no
for arg in "$@"; do
    case "$arg" in
    --tests) with_tests=yes ;;
    --check) check_only=yes ;;
    -h | --help)
        sed -n '2,12s/^# \{0,1\}//p' "$0"
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
    libyaml-dev libjansson-dev libssl-dev dpkg-dev
    redis-server procps
)
test_packages=(
    libcmocka-dev openssl python3 python3-msgpack nng-utils iproute2 nftables
    clang clang-format clang-tidy
    spin valgrind nanomsg-utils liblua5.1-0-dev
    gnuplot-nox # for the charts of `sluice-bench compare`
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

# --- hiredis with TLS ---------------------------------------------------------------------------

hiredis_prefix=${SLUICE_HIREDIS_PREFIX:-/usr/local/lib/sluice/hiredis}

has_redis_tls() {
    pkg-config --exists hiredis_ssl 2>/dev/null ||
        [ -e "$hiredis_prefix/lib/pkgconfig/hiredis_ssl.pc" ]
}

# The first release of this distribution whose hiredis is 1.0 or newer.
hiredis_suite() {
    (. /etc/os-release && case "$ID" in
        debian) echo trixie ;;
        ubuntu) echo noble ;;
    esac)
}

# The mirror and the key that apt uses for the distribution itself already.
apt_mirror() {
    LC_ALL=C apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
        awk '($1 == "Debian" || $1 == "Ubuntu") && !/security/ { print $2; exit }'
}

apt_keyring() {
    local file
    for file in /usr/share/keyrings/{debian,ubuntu}-archive-keyring.gpg; do
        if [ -e "$file" ]; then echo "$file" && return; fi
    done
}

# Fetches the source with lists and a cache of its own: what apt knows of this machine's packages is
# not touched.
hiredis_fetch() { # hiredis_fetch DIR
    local dir=$1 suite mirror keyring
    suite=$(hiredis_suite) mirror=$(apt_mirror) keyring=$(apt_keyring)
    [ -n "$suite" ] && [ -n "$mirror" ] && [ -n "$keyring" ] || return 1
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    echo "deb-src [signed-by=$keyring] $mirror $suite main universe" >"$dir/sources.list"
    [[ $keyring == *ubuntu* ]] || sed -i 's/ universe$//' "$dir/sources.list"
    local own=(-o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root)
    (cd "$dir" && apt-get "${own[@]}" update -qq && apt-get "${own[@]}" source -qq --only-source hiredis)
}

hiredis_build() { # hiredis_build DIR
    local source
    source=$(find "$1" -maxdepth 1 -type d -name 'hiredis-*' -print -quit)
    [ -n "$source" ] || return 1
    make -C "$source" -s USE_SSL=1 PREFIX="$hiredis_prefix" CFLAGS='-O2 -g -fPIC' static pkgconfig || return 1
    as_root install -d "$hiredis_prefix"/{include/hiredis,lib/pkgconfig} &&
        as_root install -m 644 "$source"/{hiredis,hiredis_ssl,async,read,sds,alloc}.h "$hiredis_prefix/include/hiredis" &&
        as_root install -m 644 "$source"/libhiredis{,_ssl}.a "$hiredis_prefix/lib" &&
        as_root install -m 644 "$source"/hiredis{,_ssl}.pc "$hiredis_prefix/lib/pkgconfig"
}

install_hiredis() {
    local dir log
    dir=$(mktemp -d) log=$(mktemp)
    say "building a hiredis with TLS from $(hiredis_suite)'s source package"
    if hiredis_fetch "$dir" >"$log" 2>&1 && hiredis_build "$dir" >>"$log" 2>&1; then
        say "installed it into $hiredis_prefix"
    else
        say "that failed, so there will be no TLS to Redis (rediss://). Its last words:"
        tail -n 5 "$log" | sed 's/^/    /'
    fi
    rm -rf "$dir" "$log"
}

# ------------------------------------------------------------------------------------------------

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
    [ "$check_only" = yes ] || has_redis_tls || install_hiredis
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
has_redis_tls || install_hiredis
say "done"
