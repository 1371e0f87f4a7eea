#!/usr/bin/env bash
# Installs the peers that Sluice is measured beside, each at a pinned version, into one directory
# that can be thrown away. None of them is needed to build, test or run Sluice; one whose toolchain
# is not here is left out by name. Compiling takes some minutes.
#
#   bench/peers/install.sh DIRECTORY [NAME...]    all, or only these:
#
#   workerd       npm        the runtime of Durable Objects, a binary in a package
#   redis-cell    cargo      a module of Redis
#   throttlecrab  cargo      a limiter that speaks Redis's protocol (needs protoc to compile)
set -uo pipefail

workerd_version=1.20261117.1
redis_cell_version=0.2.2
throttlecrab_version=0.4.40

[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" && exit 2; }
mkdir -p "$1" && directory=$(cd "$1" && pwd) || exit 1
shift
failed=0

have() { command -v "$1" >/dev/null || { echo "$peer: skipped: $1 is not installed" && return 1; }; }
done_or_not() { [ "$1" -eq 0 ] && echo "$peer: installed" || { echo "$peer: FAILED" && failed=1; }; }

install_workerd() {
    have npm || return
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$directory/workerd" \
        "workerd@$workerd_version"
    done_or_not $?
}

# The crate is a library of the kind that Redis loads, so it is built in place, not installed.
install_redis-cell() {
    have cargo || return
    local crate=$directory/redis-cell/source
    mkdir -p "$crate" && printf '%s\n' '[package]' 'name = "fetch-only"' 'version = "0.0.0"' \
        'edition = "2021"' '[lib]' 'path = "lib.rs"' '[dependencies]' \
        "redis-cell = \"=$redis_cell_version\"" >"$crate/Cargo.toml" && : >"$crate/lib.rs" &&
        (cd "$crate" && cargo vendor --quiet vendor >/dev/null) && cd "$crate/vendor/redis-cell" &&
        printf '\n[workspace]\n' >>Cargo.toml && rm -f .cargo-checksum.json &&
        RUSTFLAGS=--cap-lints=allow cargo build --quiet --release --target-dir "$directory/redis-cell/target"
    done_or_not $?
    cd "$directory" || exit 1
}

install_throttlecrab() {
    have cargo && have protoc || return
    cargo install --quiet --root "$directory/throttlecrab" --version "$throttlecrab_version" \
        throttlecrab-server
    done_or_not $?
}

[ $# -gt 0 ] || set -- workerd redis-cell throttlecrab
for peer; do
    declare -F "install_$peer" >/dev/null || { echo "install.sh: no peer is called $peer" >&2 && exit 2; }
    "install_$peer"
done
exit $failed
