#!/usr/bin/env bash
# Counts the instructions of each part of a take with callgrind, and compares them with those in
# bench/instructions.txt: more than 3 % above or below is a difference that somebody must want.
#
#   bench/instructions.sh [BUILD]            compares; exits 1 and says which part differs
#   bench/instructions.sh [BUILD] --update   writes the counts into the file, notes kept
#   bench/instructions.sh --why-not          prints why counts cannot be compared here; else nothing
#
# BUILD is build/dev unless given. Counts are of one compiler, one C library and one architecture:
# with others there is nothing to compare with.
set -euo pipefail
cd "$(dirname "$0")/.."

kept=bench/instructions.txt
tolerance=3 # percent
build=build/dev
action=compare
for word in "$@"; do
    case "$word" in
    --update) action=update ;;
    --why-not) action=why_not ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 0 ;;
    -*) echo "instructions: unknown option $word (see --help)" >&2 && exit 2 ;;
    *) build=$word ;;
    esac
done

# What the counts are of.
here() {
    echo "compiler $(gcc -dumpfullversion -dumpversion)"
    echo "libc $(getconf GNU_LIBC_VERSION | cut -d' ' -f2)"
    echo "machine $(uname -m)"
}

why_not() {
    if ! command -v valgrind >/dev/null || ! command -v callgrind_annotate >/dev/null; then
        echo "valgrind is not installed"
    elif [ "$(here)" != "$(grep -E '^(compiler|libc|machine) ' "$kept")" ]; then
        echo "the counts are of $(grep -E '^(compiler|libc|machine) ' "$kept" | paste -sd, | sed 's/,/, /g')"
    fi
}

# Prints "part instructions-each" for every part.
count() {
    local dir
    dir=$(mktemp -d)
    # Which variants of the C library's copies are taken must not depend on the processor.
    GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM,-RTM \
        valgrind --tool=callgrind --callgrind-out-file="$dir/out" --quiet \
        "$build/bin/decision-path" >"$dir/times" 2>"$dir/log" </dev/null || {
        cat "$dir/log" >&2
        rm -rf "$dir"
        return 1
    }
    callgrind_annotate --inclusive=yes --threshold=100 --show-percs=no "$dir/out" |
        sed -nE 's/^ *([0-9,]+) .*:part_([a-z_]+)(\.[a-z0-9.]+)?( \[.*)?$/\2 \1/p' | tr -d , >"$dir/spent"
    # A function has a line for each file whose code is inlined in it; the first, largest, has all.
    awk 'NR == FNR { if (!($1 in spent)) spent[$1] = $2; next } { printf "%s %.0f\n", $1, spent[$1] / $2 }' \
        "$dir/spent" "$dir/times"
    rm -rf "$dir"
}

case "$action" in
why_not) why_not && exit 0 ;;
compare)
    reason=$(why_not)
    [ -z "$reason" ] || { echo "instructions: skipped: $reason" && exit 0; }
    ;;
update) command -v valgrind >/dev/null || { echo "instructions: valgrind is not installed" >&2 && exit 1; } ;;
esac

counted=$(count)
if [ "$action" = update ]; then
    {
        grep '^#' "$kept"
        here
        while read -r part each; do
            printf '%-15s %6d  %s\n' "$part" "$each" "$(sed -nE "s/^$part +[0-9]+  //p" "$kept")"
        done <<<"$counted"
    } >"$kept.new"
    mv "$kept.new" "$kept"
    echo "instructions: $kept has the counts of this build; say in the commit why they changed"
    exit 0
fi

differing=0
while read -r part each; do
    was=$(awk -v part="$part" '$1 == part { print $2 }' "$kept")
    if [ -z "$was" ] || [ "$each" -eq 0 ] ||
        [ $((each * 100)) -gt $((was * (100 + tolerance))) ] ||
        [ $((each * 100)) -lt $((was * (100 - tolerance))) ]; then
        echo "instructions: $part costs $each instructions each, ${was:-nothing} in $kept"
        differing=$((differing + 1))
    fi
done <<<"$counted"
if [ $differing -gt 0 ]; then
    echo "instructions: $differing differ by more than $tolerance %. If that is meant, run" \
        "bench/instructions.sh $build --update, and say in the commit what it buys."
    exit 1
fi
echo "instructions: $(wc -l <<<"$counted") parts within $tolerance % of $kept"
