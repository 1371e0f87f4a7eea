#!/usr/bin/env bash
# The cores decide; they do not act. Shows that their archives can reach no clock, allocator, socket,
# file or log: every symbol they leave undefined is one of a few plain memory functions, or defined
# in the core itself or in proto (which is held to the same, but may format a text and hash).
#
#   tests/purity.sh BUILD_DIR     e.g. build/dev; prints each offender, exits 1 if there is one
#   tests/purity.sh --self-test   plants faults and shows that they are found
set -euo pipefail

# What a C compiler may call for plain code: copies, 128-bit arithmetic, failed checks.
plain='memcpy|memmove|memset|memcmp|memchr|strlen|__(memcpy|memmove|memset)_chk|__u?(div|mod|divmod|mul)ti[34]'
plain+='|__assert_fail|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_'
# What proto needs beside: texts of faults, and the hash of a key.
proto_plain="$plain|vsnprintf|snprintf|__v?snprintf_chk|XXH3_64bits"

defined() { nm --defined-only --format=posix "$@" 2>/dev/null | awk 'NF > 2 { print $1 }' | sort -u; }
undefined() { nm --undefined-only --format=posix "$1" 2>/dev/null | awk 'NF > 1 { print $1 }' | sort -u; }

# users ARCHIVE SYMBOL: the objects that leave the symbol undefined.
users() {
    nm --undefined-only --print-file-name --format=posix "$1" 2>/dev/null |
        awk -v symbol="$2" '$2 == symbol { sub(/.*\[/, "", $1); sub(/\].*/, "", $1); print $1 }' |
        sort -u | paste -sd ' '
}

# check ARCHIVE ALLOWED OTHERS...: prints offenders of ARCHIVE; false if there are any.
check() {
    local archive=$1 allowed=$2 symbol offenders=0
    shift 2
    while read -r symbol; do
        printf '%s: %s reaches %s\n' "$(basename "$archive")" "$(users "$archive" "$symbol")" "$symbol"
        offenders=$((offenders + 1))
    done < <(comm -23 <(undefined "$archive") <(defined "$archive" "$@") | grep -vxE "$allowed" || true)
    [ $offenders -eq 0 ]
}

find_archive() { find "$1" -name "$2" -print -quit; }

check_build() {
    local name archive proto failed=0
    proto=$(find_archive "$1" libsluice_proto.a)
    [ -n "$proto" ] || { echo "purity: no libsluice_proto.a below $1" >&2 && return 2; }
    check "$proto" "$proto_plain" || failed=1
    for name in libsluice_server_core.a libsluice_router_core.a; do
        archive=$(find_archive "$1" $name)
        [ -n "$archive" ] || { echo "purity: no $name below $1" >&2 && return 2; }
        check "$archive" "$plain" "$proto" || failed=1
    done
    [ $failed -ne 0 ] || echo "purity: the cores and proto reach nothing outside"
    return $failed
}

self_test() {
    local dir found
    dir=$(mktemp -d)
    trap "rm -rf '$dir'" EXIT
    cat >"$dir/fault.c" <<'C'
#include <stdlib.h>
#include <string.h>
#include <time.h>
long fault_clock(void) { return (long)time(0); }
void *fault_memory(void) { return malloc(8); }
void pure_copy(char *to, const char *from, unsigned long size) { memmove(to, from, size); }
C
    cc -O1 -c "$dir/fault.c" -o "$dir/fault.o"
    ar rcs "$dir/libsluice_server_core.a" "$dir/fault.o"
    if found=$(check "$dir/libsluice_server_core.a" "$plain"); then
        echo "purity: planted faults were not found" >&2
        return 1
    fi
    [ "$(wc -l <<<"$found")" -eq 2 ] && grep -q 'reaches time$' <<<"$found" &&
        grep -q 'fault.o reaches malloc$' <<<"$found" || {
        printf 'purity: planted time and malloc, found:\n%s\n' "$found" >&2
        return 1
    }
    echo "purity: both planted faults were found"
}

case "${1:-}" in
--self-test) self_test ;;
"" | -*) sed -n '2,7s/^# \{0,1\}//p' "$0" && exit 2 ;;
*) check_build "$1" ;;
esac
