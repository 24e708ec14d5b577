#!/usr/bin/env bash
# Counts the instructions of the store's main operations with callgrind, and compares them with the committed figures.
#
#   benches/instructions.sh            print the figures; fail if one is more than 5 % above benches/instructions.txt
#   benches/instructions.sh --update   write them to benches/instructions.txt
#
# Figures depend on the compiler: they are compared only where `rustc -V` is the one they were committed with, and printed otherwise.
# Needs valgrind, which the script installs with apt-get where it may; exits with 2 where it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

# Work, as the program calls it, and the count that is run once and twice.
works=(single-append:20000 batch-of-10:2000 hot-append:20000 conditional-append:10000 load-of-100:10000 conversation:40000 type-query:200)
tolerance_percent=5
committed=benches/instructions.txt
out=target/instructions
compiler=$(rustc -V)

if ! command -v valgrind >/dev/null; then
    { apt-get install -y valgrind || sudo -n apt-get install -y valgrind; } >/dev/null 2>&1 || true
fi
if ! command -v valgrind >/dev/null; then
    echo "counting instructions needs valgrind: install it, for example with 'apt-get install valgrind'" >&2
    exit 2
fi

mkdir -p "$out"
program=$(cargo bench --quiet -p annals --bench instructions --no-run --message-format=json |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p' | tail -1)

# run WORK COUNT: the instructions of one whole run; the profile stays in $out.
run() {
    valgrind --tool=callgrind --callgrind-out-file="$out/$1.$2" "$program" "$1" "$2" 2>"$out/$1.log" ||
        { cat "$out/$1.log" >&2; exit 1; }
    sed -n 's/^==.*Collected : \([0-9]*\).*/\1/p' "$out/$1.log"
}

# count WORK COUNT: the fewest of three runs, since tables are laid out by random seeds.
count() {
    for _ in 1 2 3; do
        run "$1" "$2"
    done | sort -n | head -1
}

figures=$out/figures.txt
: >"$figures"
for entry in "${works[@]}"; do
    work=${entry%:*} once=${entry#*:}
    difference=$(($(count "$work" $((2 * once))) - $(count "$work" "$once")))
    printf '%s: %d\n' "${work//-/ }" $((difference / once)) | tee -a "$figures"
done

# The steps of a single append: functions of the library with what they call, above 50 instructions an append.
once=${works[0]#*:}
echo
echo "single append by function, with what it calls (start-up included):"
callgrind_annotate --inclusive=yes --threshold=100 "$out/single-append.$((2 * once))" 2>/dev/null | awk -v count=$((2 * once)) '
    /\.rs:annals::/ && !/=>/ {
        instructions = $1; gsub(",", "", instructions)
        name = $0; sub(/^.*\.rs:annals::/, "", name); sub(/ *\[.*/, "", name)
        if (!(name in seen) && instructions / count >= 50) printf "%8d  %s\n", instructions / count, name
        seen[name] = 1
    }' | sort -rn
# The line of a call has the number of calls at its end: (40,000x).
callgrind_annotate --tree=calling --inclusive=yes --threshold=100 "$out/single-append.$((2 * once))" 2>/dev/null | awk -v count=$((2 * once)) '
    /> .*malloc\.c:(malloc|calloc|realloc) \([0-9,]+x\)/ {
        calls = $0; sub(/.*\(/, "", calls); sub(/x\).*/, "", calls); gsub(",", "", calls); allocations += calls
    }
    END { printf "\nallocations: %.2f an append (start-up included)\n", allocations / count }'
echo

if [ "${1:-}" = --update ]; then
    { echo "$compiler"; cat "$figures"; } >"$committed"
    echo "wrote $committed"
    exit
fi

if [ "$(head -1 "$committed")" != "$compiler" ]; then
    echo
    echo "not compared: the committed figures are of $(head -1 "$committed"), this is $compiler"
    exit
fi

failed=0
while IFS=: read -r work figure; do
    limit=$(sed -n "s/^$work: //p" "$committed")
    if [ -z "$limit" ]; then
        echo "$work: no committed figure; run benches/instructions.sh --update" >&2
        failed=1
    elif [ $((figure * 100)) -gt $((limit * (100 + tolerance_percent))) ]; then
        echo "$work:$figure instructions, more than $tolerance_percent % above the committed $limit" >&2
        failed=1
    fi
done <"$figures"
exit $failed
