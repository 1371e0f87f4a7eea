#!/usr/bin/env bash
# The rules of the house that a machine can check: format, length, and words that have no place in a
# tree that others clone.
#
#   tests/style.sh               every file of the tree; prints each offence, exits 1 if there is one
#   tests/style.sh --self-test   plants an offence of each kind and shows that it is found
set -uo pipefail
cd "$(dirname "$0")/.."

# Lines of a source file. A file past 500 asks to be two things; past this it must be.
lines_max=600

offences=0
offend() {
    printf '%s\n' "$*"
    offences=$((offences + 1))
}

sources_of() { grep -E '\.(c|h|sh|py|cmake)$|(^|/)CMakeLists\.txt$' <<<"$1"; }

# check_files LIST: one path a line.
check_files() {
    local file lines out list=$1 clean
    while read -r file; do
        lines=$(wc -l <"$file")
        [ "$lines" -le $lines_max ] || offend "$file: $lines lines (at most $lines_max)"
    done < <(sources_of "$list")

    clean=$(grep -E '\.(c|h)$' <<<"$list")
    if [ -n "$clean" ]; then
        if ! out=$(xargs -d '\n' clang-format --style=file --dry-run -Werror <<<"$clean" 2>&1); then
            printf '%s\n' "$out" | grep -E 'error:' | head -20
            offend "clang-format: the files above are not formatted (clang-format -i FILE mends it)"
        fi
    fi

    # Paths of somebody's machine. Written so that this line does not match itself.
    while IFS= read -r out; do
        offend "$out: a path of one machine"
    done < <(xargs -d '\n' grep -nIE '(^|[^[:alnum:]_.])/(wor[k]|roo[t]|hom[e]|User[s])/' <<<"$list" | cut -c1-160)
    while IFS= read -r out; do
        offend "$out: unfinished"
    done < <(sources_of "$list" | xargs -d '\n' grep -nIE '\<(TOD[O]|FIXM[E]|XX[X])\>' | cut -c1-160)
    while IFS= read -r out; do
        offend "$out: blanks at the end of the line"
    done < <(xargs -d '\n' grep -nIE '[[:blank:]]+$' <<<"$list" | grep -v '^LICENSE:' | cut -c1-160)
}

self_test() {
    local dir
    dir=$(mktemp -d)
    trap "rm -rf '$dir'" EXIT
    cp .clang-format "$dir/"
    seq $((lines_max + 1)) | sed 's/^/# /' >"$dir/long.sh"
    printf 'int  main( void ){return 0;}\n' >"$dir/format.c"
    printf 'see %s/somebody/notes\n' '/hom''e' >"$dir/path.md"
    printf '# %s later\n' 'TOD''O' >"$dir/later.sh"
    printf 'blank \n' >"$dir/blank.md"
    check_files "$(find "$dir" -type f ! -name .clang-format)" >"$dir/.found"
    if [ $offences -ne 5 ]; then
        echo "style: 5 offences were planted, found:" >&2
        cat "$dir/.found" >&2
        exit 1
    fi
    echo "style: all 5 planted offences were found"
}

case "${1:-}" in
--self-test) self_test ;;
"")
    if [ -e .git ]; then
        files=$(git ls-files --cached --others --exclude-standard)
    else
        files=$(find . -type f -not -path './build/*' -not -path './.sluice/*' | sed 's|^\./||')
    fi
    files=$(grep -v '^tests/fuzz/corpus/' <<<"$files") # inputs, not text
    check_files "$(while read -r file; do [ ! -f "$file" ] || echo "$file"; done <<<"$files")"
    if [ $offences -ne 0 ]; then
        echo "style: $offences offences"
        exit 1
    fi
    echo "style: $(wc -l <<<"$files") files, no offence"
    ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
