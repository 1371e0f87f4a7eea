#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a bounded time: first its corpus, then what libFuzzer
# makes of it. Without a clang that has libFuzzer the corpora alone are replayed, in the dev build.
# A crash is kept in build/fuzz/crashes, with how to reproduce it; the exit code is 1 then.
#
#   --seconds N   for each target (default 5); three times as long for shard and router
#   --only T      targets whose name contains T
#   --jobs N      targets at the same time (default 2), and jobs to compile with
#   --keep        add to the corpus in the tree what was found (default: to build/fuzz/corpus)
set -uo pipefail
cd "$(dirname "$0")/../.."

# Bytes of an input, MiB of memory and seconds of one input: arbitrary, but far above what is
# needed. The largest message of the fixed seeds has 1.5 KB; a slow input is a bug as well.
len_max=4096
memory_mib=1500
input_seconds=10

seconds=5
only=
jobs=2
keep=no
while [ $# -gt 0 ]; do
    case "$1" in
    --keep) keep=yes ;;
    --seconds | --only | --jobs)
        [ -n "${2:-}" ] || { echo "fuzz: $1 needs a value" >&2 && exit 2; }
        declare "${1#--}=$2"
        shift
        ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) echo "fuzz: unknown option $1 (see --help)" >&2 && exit 2 ;;
    esac
    shift
done
[[ $seconds =~ ^[1-9][0-9]*$ && $jobs =~ ^[1-9][0-9]*$ ]] ||
    { echo "fuzz: --seconds and --jobs take a number" >&2 && exit 2; }

targets=()
for file in $(ls -S tests/fuzz/fuzz_*.c); do # the longest histories first, so that none ends alone
    name=${file##*/fuzz_}
    [[ ${name%.c} == *"$only"* ]] && targets+=("${name%.c}")
done
[ ${#targets[@]} -gt 0 ] || { echo "fuzz: no target's name contains $only" >&2 && exit 2; }

has_libfuzzer() {
    echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long s) { return 0; }' |
        clang -x c - -fsanitize=fuzzer,address,undefined -o /dev/null 2>/dev/null
}

if ! has_libfuzzer; then
    echo "fuzz: this clang has no libFuzzer (deploy/install-deps.sh --tests); replaying the corpora"
    cmake --preset dev >/dev/null && cmake --build --preset dev --parallel "$jobs" --target fuzz >/dev/null ||
        { echo "fuzz: the dev build failed" >&2 && exit 1; }
    exec ctest --test-dir build/dev --output-on-failure -R "^fuzz_corpus_.*$only"
fi

cmake --preset fuzz >/dev/null && cmake --build --preset fuzz --parallel "$jobs" ||
    { echo "fuzz: the build failed" >&2 && exit 1; }
crashes=build/fuzz/crashes
logs=build/fuzz/logs
mkdir -p "$crashes" "$logs"

# one TARGET: replays, then fuzzes. libFuzzer adds to the first folder that it is given.
one() {
    if [ ! -x "build/fuzz/fuzz/fuzz_$1" ]; then
        printf '%-16s skipped: fuzz.cmake says why\n' "$1"
        return
    fi
    local name=$1 log=$logs/$1.log fixed=tests/fuzz/corpus/$1 found=build/fuzz/corpus/$1 executions crash
    mkdir -p "$found"
    [ "$keep" = no ] || found=$fixed
    local budget=$seconds # the two whose inputs are histories are a hundred times slower
    [[ $name != shard && $name != router ]] || budget=$((3 * seconds))
    local limits=("-rss_limit_mb=$memory_mib" "-timeout=$input_seconds" "-max_len=$len_max"
        "-artifact_prefix=$crashes/$name-" -print_final_stats=1)
    : >"$log"
    # Every file by itself, so that a crash names it.
    if "build/fuzz/fuzz/fuzz_$name" "${limits[@]}" "$fixed"/* >>"$log" 2>&1 </dev/null &&
        "build/fuzz/fuzz/fuzz_$name" "${limits[@]}" -use_value_profile=1 \
            "-max_total_time=$budget" -len_control=20 "$found" "$fixed" >>"$log" 2>&1 </dev/null; then
        executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
        printf '%-16s ok      %8d inputs\n' "$name" "$executions"
        return
    fi
    printf '%-16s CRASHED  the end of %s:\n' "$name" "$log"
    grep -aE '^(SUMMARY|.*runtime error|.*\.[ch]:[0-9]+: )' "$log" | head -n 5 | sed 's/^/    /'
    crash=$(sed -nE 's/.*Test unit written to (.*)/\1/p' "$log" | tail -n 1)
    [ -n "$crash" ] || crash=$(sed -n 's/^Running: //p' "$log" | tail -n 1)
    printf '    again: build/fuzz/fuzz/fuzz_%s %s\n' "$name" "$crash"
    return 1
}
export -f one
export crashes logs keep seconds len_max memory_mib input_seconds
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1} UBSAN_OPTIONS=print_stacktrace=1

printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'one {} || exit 1'
status=$?
inputs=0
for name in "${targets[@]}"; do
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$name.log" | tail -n 1)
    inputs=$((inputs + ${executions:-0}))
done
if [ $status -ne 0 ]; then
    echo "fuzz: a target crashed; what it had is in $crashes"
    exit 1
fi
echo "fuzz: ${#targets[@]} targets, $inputs inputs, no crash"
