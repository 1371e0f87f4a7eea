#!/usr/bin/env bash
# Runs unit tests under valgrind's memcheck: a read of memory that is not there or was never written
# decides something, or memory is lost. Model tests do a fiftieth of their steps.
#
#   tests/memcheck.sh BUILD_DIR PATTERN   tests whose name the expression matches; "." for all
#   tests/memcheck.sh --command           how a program is run, for others who want the same
#   tests/memcheck.sh --self-test         plants three faults and shows that they are found
set -uo pipefail

# One thread at a time, in turn: with valgrind's default a waiting thread may starve.
check=(valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite
    --fair-sched=yes)
# Fifty times slower than natively, and several threads share one processor.
seconds_max=300

self_test() {
    local dir fault
    dir=$(mktemp -d)
    trap "rm -rf '$dir'" EXIT
    cat >"$dir/fault.c" <<'C'
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
    volatile char *piece = malloc(8);
    int found = 0;
    if (strcmp(argv[1], "unwritten") == 0 && piece[3] == 7) found = 1;
    if (strcmp(argv[1], "beyond") == 0) found = piece[8];
    if (strcmp(argv[1], "lost") != 0) free((void *)piece);
    piece = NULL;
    return found & 0;
}
C
    cc -O0 -g "$dir/fault.c" -o "$dir/fault" || return 1
    for fault in unwritten beyond lost none; do
        "${check[@]}" "$dir/fault" $fault >"$dir/log" 2>&1
        if [ $? -ne $([ $fault = none ] && echo 0 || echo 99) ]; then
            echo "memcheck: planted $fault, found:" >&2
            cat "$dir/log" >&2
            return 1
        fi
    done
    echo "memcheck: all three planted faults were found"
}

check_tests() { # check_tests BUILD_DIR PATTERN
    local program name log count=0 bad=0 logs=$1/memcheck
    mkdir -p "$logs"
    export SLUICE_TEST_SCALE=0.02
    for program in "$1"/tests/test_*; do
        name=${program##*/test_}
        [ -f "$program" ] && [ -x "$program" ] && [[ $name =~ $2 ]] || continue
        log=$logs/$name.log
        count=$((count + 1))
        if ! timeout $seconds_max "${check[@]}" "$program" >"$log" 2>&1; then
            bad=$((bad + 1))
            echo "memcheck: $name failed; the end of $log:"
            tail -n 25 "$log" | sed 's/^/    /'
        fi
    done
    [ $count -gt 0 ] || { echo "memcheck: no test of $1 matches $2" >&2 && return 2; }
    echo "memcheck: $count programs, $bad with faults"
    [ $bad -eq 0 ]
}

case "${1:-}" in
--self-test) self_test ;;
--command) echo "${check[*]}" ;;
"" | -*) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 2 ;;
*) check_tests "$1" "${2:-.}" ;;
esac
