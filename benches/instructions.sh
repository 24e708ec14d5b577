#!/usr/bin/env bash
# Counts the instructions of the main operations of the store and the toolkit with callgrind, and compares them with the committed figures.
#
#   benches/instructions.sh            print the figures; fail if one is more than 5 % above benches/instructions.txt
#   benches/instructions.sh --update   write them to benches/instructions.txt
#
# Allocations (calls of malloc and its kin) and locked instructions (atomic read-modify-writes and full fences) are printed and not compared.
# Figures depend on the compiler: they are compared only where `rustc -V` is the one they were committed with, and printed otherwise.
# Needs valgrind, which the script installs with apt-get where it may; exits with 2 where it cannot. Locked instructions also need
# objdump and an x86-64 processor; elsewhere they are not printed.
set -euo pipefail
cd "$(dirname "$0")/.."

# Work, as the program calls it, and the count that is run once and twice.
works=(single-append:20000 batch-of-10:2000 hot-append:20000 conditional-append:10000 load-of-100:10000 load-of-50-unsealed:10000 conversation:40000 type-query:200
    load-typed:1000 load-by-hand:1000 command:10000 command-by-hand:10000 command-inline:10000 command-handler-and-record:10000)
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

# run WORK COUNT: the instructions of one whole run; the profile stays in $out, with a line for each address and all names in full.
run() {
    valgrind --tool=callgrind --dump-instr=yes --compress-strings=no --compress-pos=no \
        --callgrind-out-file="$out/$1.$2" "$program" "$1" "$2" 2>"$out/$1.log" ||
        { cat "$out/$1.log" >&2; exit 1; }
    sed -n 's/^==.*Collected : \([0-9]*\).*/\1/p' "$out/$1.log"
}

# count WORK COUNT: the fewest of three runs, since tables are laid out by random seeds.
count() {
    for _ in 1 2 3; do
        run "$1" "$2"
    done | sort -n | head -1
}

# list_locked PROFILE: each locked instruction of the program and the libraries in the profile, as "OBJECT ADDRESS".
list_locked() {
    if [ "$(uname -m)" != x86_64 ] || ! command -v objdump >/dev/null; then
        return
    fi
    sed -n 's/^ob=//p' "$1" | sort -u | while read -r object; do
        [ -f "$object" ] || continue
        objdump --disassemble --no-show-raw-insn "$object" | awk -v object="$object" '
            /^ *[0-9a-f]+:/ && (/[ \t]lock / || /[ \t]xchg .*\(/ || /[ \t]mfence/) { sub(":", "", $1); print object, "0x" $1 }'
    done
}

# sums PROFILE: the allocations and the locked instructions of one whole run. A line of costs is "ADDRESS LINE INSTRUCTIONS"; the one
# below a `calls=` has the costs of the function that is called.
sums() {
    awk '
        FILENAME != profile { locked[$1, $2] = 1; next }
        /^ob=/ { object = substr($0, 4) }
        /^cfn=/ { allocates = /^cfn=(malloc|calloc|realloc|posix_memalign|aligned_alloc|memalign)$/ }
        /^calls=/ { if (allocates) allocations += substr($1, 7); called = 1; next }
        /^0x/ { if (!called && (object, $1) in locked) executed += $3; called = 0 }
        END { printf "%d %d\n", allocations, executed }' profile="$1" "$out/locked.txt" "$1"
}

# extras WORK COUNT: what else is known of a time of the work, from the last runs.
extras() {
    local once twice
    read -ra once <<<"$(sums "$out/$1.$2")"
    read -ra twice <<<"$(sums "$out/$1.$((2 * $2))")"
    awk -v allocations=$((twice[0] - once[0])) -v locked=$((twice[1] - once[1])) -v counted="$(wc -l <"$out/locked.txt")" -v count="$2" 'BEGIN {
        printf "%.2f allocations", allocations / count
        if (counted > 0) printf ", %.2f locked instructions", locked / count
    }'
}

figures=$out/figures.txt
: >"$figures"
: >"$out/locked.txt"
for entry in "${works[@]}"; do
    work=${entry%:*} once=${entry#*:}
    difference=$(($(count "$work" $((2 * once))) - $(count "$work" "$once")))
    figure="${work//-/ }: $((difference / once))"
    echo "$figure" >>"$figures"
    [ -s "$out/locked.txt" ] || list_locked "$out/$work.$once" >"$out/locked.txt"
    echo "$figure ($(extras "$work" "$once"))"
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
