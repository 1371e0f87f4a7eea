#!/usr/bin/env bash
# Installs what is needed, builds Sluice, and runs every test. The last line says how many parts
# passed and failed; the exit code is 0 only if none failed. Reads no input, needs no network once
# packages are installed, leaves no process behind.
#
#   --quick          the dev build only: no sanitizers, no second compiler, smaller amounts
#   --only PATTERN   parts, unit tests and integration tests whose name contains PATTERN
#   --soak           the long forms: five million takes, ten times the model steps
#   --coverage       instead of all this: what the tests reach, by file (docs/testing.md)
#   --valgrind       instead of all this: every unit test and a life of a cluster under memcheck
#   --jobs N         compile with N jobs and run N tests at once (default: processors)
#   --no-install     leave packages alone
set -uo pipefail
cd "$(dirname "$0")/.."

quick=no
special=
only=
soak=no
install=yes
jobs=$(nproc)
while [ $# -gt 0 ]; do
    case "$1" in
    --quick) quick=yes ;;
    --soak) soak=yes ;;
    --coverage | --valgrind) special=${1#--} ;;
    --no-install) install=no ;;
    --only | --jobs)
        [ -n "${2:-}" ] || { echo "run.sh: $1 needs a value" >&2 && exit 2; }
        [ "$1" = --only ] && only=$2 || jobs=$2
        shift
        ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) echo "run.sh: unknown option $1 (see --help)" >&2 && exit 2 ;;
    esac
    shift
done
[[ $jobs =~ ^[1-9][0-9]*$ ]] || { echo "run.sh: --jobs takes a number" >&2 && exit 2; }
# Names of tests are plain words, so a plain word is what a pattern is.
[[ $only =~ ^[A-Za-z0-9_./-]*$ ]] || { echo "run.sh: --only takes a plain word" >&2 && exit 2; }

passed=0
failed=0
skipped=0
logs=build/test-logs
mkdir -p "$logs"

child=
on_end() {
    # The child leads a session of its own, so that all that it has started can be told to end.
    if [ -n "$child" ] && kill -TERM -- "-$child" 2>/dev/null; then wait "$child" 2>/dev/null; fi
}
trap on_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# run LOG COMMAND...: with the output in a file; may be interrupted at any time.
run() {
    local log=$1
    shift
    setsid "$@" >"$log" 2>&1 </dev/null &
    child=$!
    wait "$child"
    local status=$?
    child=
    return $status
}

# part NAME COMMAND...: one thing that passes or fails. False if it failed.
part() {
    local name=$1 log=$logs/${1//[ \/]/-}.log start=$SECONDS
    shift
    if run "$log" "$@"; then
        passed=$((passed + 1))
        printf '%-22s ok      %4d s   %s\n' "$name" $((SECONDS - start)) "$(tail -n 1 "$log" | cut -c1-90)"
        return 0
    fi
    failed=$((failed + 1))
    printf '%-22s FAILED  %4d s   the end of %s:\n' "$name" $((SECONDS - start)) "$log"
    tail -n 40 "$log" | sed 's/^/    /'
    return 1
}

# Whether a part that has no tests within is wanted.
wanted() { [ -z "$only" ] || [[ $1 == *"$only"* ]]; }

# counted NAME TALLY SHOWN COMMAND...: a command of many tests. `TALLY LOG` prints "passed failed
# skipped"; lines that match the expression SHOWN are shown.
counted() {
    local name=$1 tally=$2 shown=$3 log=$logs/${1//[ \/]/-}.log start=$SECONDS status p f s
    shift 3
    run "$log" "$@"
    status=$?
    read -r p f s <<<"$($tally "$log")"
    if [ $status -ne 0 ] && [ "${f:-0}" -eq 0 ]; then f=1; fi # it broke down before it could say
    if [ $status -eq 0 ] && [ $((p + f + s)) -eq 0 ]; then return 0; fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [ "$f" -eq 0 ]; then
        printf '%-22s ok      %4d s   %d tests\n' "$name" $((SECONDS - start)) "$p"
        grep -E "$shown" "$log" | sed 's/^/    /'
    else
        printf '%-22s FAILED  %4d s   %d of %d; %s:\n' "$name" $((SECONDS - start)) "$f" $((p + f)) "$log"
        # The whole log is in the file. Here: its end, and last of all what failed and why.
        tail -n 150 "$log" | grep -v '^failed: ' | sed 's/^/    /'
        grep -E '^failed: |\*\*\*(Failed|Timeout|Exception)' "$log" | sed 's/^/    /'
    fi
}
tally_ctest() {
    awk '/tests passed, / { for (i = 1; i <= NF; i++) { if ($i == "failed") bad = $(i - 2); if ($i == "of") all = $(i + 1) } }
         END { print all - bad + 0, bad + 0, 0 }' "$1"
}
tally_integration() {
    awk '/^tally: / { p = $2; f = $3; s = $4 } END { print p + 0, f + 0, s + 0 }' "$1"
}

build() { # build PRESET
    part "build $1" bash -c "cmake --preset $1 && cmake --build --preset $1 --parallel $jobs"
}

# ThreadSanitizer finds races of threads. Decisions are pure and share nothing (purity), so their
# tests, the slowest under it, run there with --soak only.
threadless='^(shard|model|proto)_'

unit_and_model() { # unit_and_model PRESET [COMMAND PREFIX...]
    local preset=$1 left_out=()
    shift
    [ "$preset" != tsan ] || [ $soak = yes ] || left_out=(--exclude-regex "$threadless")
    counted "$preset unit and model" tally_ctest '$^' "$@" ctest --test-dir "build/$preset" \
        --parallel "$jobs" --output-on-failure --no-tests=ignore ${only:+--tests-regex "$only"} \
        "${left_out[@]}"
}

integration() { # integration PRESET ARGS...
    local preset=$1
    shift
    counted "$preset integration" tally_integration '^( |ok|skip)' /usr/bin/python3 -u \
        tests/integration/run.py --bin "build/$preset/bin" \
        --jobs $((jobs + 1)) ${only:+--only "$only"} "$@"
}

tidy() {
    git ls-files '*.c' 2>/dev/null | grep -vE '^(tests|bench)/' |
        xargs -P "$jobs" -n 4 clang-tidy --quiet -p build/clang 2>&1 |
        { grep -vE '^[0-9]+ warnings? (generated|treated as)|^Suppressed|^Use -header-filter' || true; }
    return "${PIPESTATUS[2]}"
}

sanitized() { # sanitized PRESET [COMMAND PREFIX...]
    local preset=$1
    shift
    build "$preset" || return
    SLUICE_TEST_SCALE=${SLUICE_TEST_SCALE:-0.1} unit_and_model "$preset" "$@"
    integration "$preset" --smoke
}

# What tests reach. Only orderly ends leave counts, so what integration tests reach of processes that
# they kill is not seen.
coverage() {
    build coverage || return
    find build/coverage -name '*.gcda' -delete
    SLUICE_TEST_SCALE=${SLUICE_TEST_SCALE:-0.1} unit_and_model coverage
    part "coverage of decisions" tests/coverage.py build/coverage --least 95
    cat "$logs/coverage-of-decisions.log"
    integration coverage --smoke
    part "coverage of all" tests/coverage.py build/coverage
    cat "$logs/coverage-of-all.log"
}

# --- the parts -----------------------------------------------------------------------------------

if [ $install = yes ]; then
    deploy/install-deps.sh --tests || { echo "run.sh: packages are missing" >&2 && exit 1; }
fi

# How much the model tests do, as a factor: the sanitizers slow everything down by about ten.
[ $soak = no ] || export SLUICE_TEST_SCALE=10
[ $quick = no ] || export SLUICE_TEST_SCALE=${SLUICE_TEST_SCALE:-0.2}
amount=()
[ $soak = no ] || amount+=(--soak)
[ $quick = no ] || amount+=(--quick)

# What memcheck sees that sanitizers do not: a decision on bytes that nobody has written.
memcheck() { # memcheck PATTERN: of the names of unit tests
    if ! command -v valgrind >/dev/null; then
        skipped=$((skipped + 1))
        printf '%-22s skipped          valgrind is not installed\n' memcheck
        return
    fi
    part "memcheck finds faults" tests/memcheck.sh --self-test
    part memcheck tests/memcheck.sh build/dev "$1"
}

if [ "$special" = coverage ]; then
    coverage
elif [ "$special" = valgrind ]; then
    if build dev; then
        memcheck .
        integration dev --smoke --under "$(tests/memcheck.sh --command)" \
            $([ -n "$only" ] || echo --only test_take.PlanTest)
    fi
fi
if [ -n "$special" ]; then
    printf '\nWhole run: %d s. %d passed, %d failed\n' $SECONDS $passed $failed
    [ $failed -eq 0 ] && [ $passed -gt 0 ]
    exit
fi

if build dev; then
    unit_and_model dev
    # Those that read bytes, and those that give memory back piece by piece.
    ! wanted memcheck || memcheck '^(proto_|vectors|request_control|core_memory|handover|term_set)'
    if wanted purity; then
        part "purity finds faults" tests/purity.sh --self-test
        part purity tests/purity.sh build/dev
    fi
    if wanted style; then
        part "style finds faults" tests/style.sh --self-test
        part style tests/style.sh
    fi
    integration dev "${amount[@]}"
fi

# What a take costs in instructions: the same count on every machine with this compiler.
if wanted instructions && [ -x build/dev/bin/decision-path ]; then
    reason=$(bench/instructions.sh --why-not)
    if [ -z "$reason" ]; then
        part instructions bench/instructions.sh build/dev
    else
        skipped=$((skipped + 1))
        printf '%-22s skipped          %s\n' instructions "$reason"
    fi
fi

# Bad days for a whole cluster: the one of the processes, and the one of the network, for those who
# may have namespaces. The schedules are the seed's; how the processes meet them is not.
if wanted chaos && [ -x build/dev/bin/chaos-load ]; then
    minutes=() && [ $quick = no ] || minutes=(--minutes 0.25)
    [ $soak = no ] || minutes=(--minutes 10)
    part "chaos losses" tests/chaos/test_losses.py
    part "chaos crash" tests/chaos/run crash --seed 1 "${minutes[@]}"
    if why=$(tests/chaos/run network --check); then
        part "chaos network" tests/chaos/run network --seed 1 "${minutes[@]}"
    else
        skipped=$((skipped + 1))
        printf '%-22s skipped          %s\n' "chaos network" "$why"
    fi
fi

# Years of bad days for the programs themselves, on a simulated clock, network and Redis.
if wanted sim && [ -d build/dev ]; then
    if [ -x build/dev/tests/sluice-sim ]; then
        seconds=0 && [ $soak = no ] || seconds=1800
        part sim tests/sim/run --bin build/dev/tests/sluice-sim --check --seconds $seconds --jobs 2
    else
        skipped=$((skipped + 1))
        printf '%-22s skipped          it needs Lua 5.1 (liblua5.1-0-dev)\n' sim
    fi
fi

# The model of ownership, for those who have spin.
if [ $quick = no ] && wanted spin; then
    if command -v spin >/dev/null; then
        part spin tests/spin/run.sh
    else
        skipped=$((skipped + 1))
        printf '%-22s skipped          spin is not installed\n' spin
    fi
fi

if [ $quick = no ]; then
    if build clang && wanted tidy; then part tidy bash -c "jobs=$jobs; $(declare -f tidy); tidy"; fi
    export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
    export TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp"
    sanitized asan
    # Where addresses are too random for ThreadSanitizer, it cannot start without setarch.
    sanitized tsan $(setarch -R true 2>/dev/null && echo setarch -R)
    # Three seconds a target, nine for shard and router; what crashes is kept in build/fuzz/crashes.
    if wanted fuzz; then
        part fuzz tests/fuzz/run.sh --seconds "$([ $soak = no ] && echo 3 || echo 60)" --jobs "$jobs"
    fi
fi

echo
printf 'Whole run: %d s, %s, %d processors. Logs are in %s.\n' $SECONDS "$(uname -m)" "$(nproc)" "$logs"
printf '%d passed, %d failed%s\n' $passed $failed "$([ $skipped -eq 0 ] || echo ", $skipped skipped")"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
