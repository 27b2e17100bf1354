#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh [SECONDS [TARGET...]] - fuzzes every parser for SECONDS (60) each, under ASan and UBSan.
#
# With clang it is libFuzzer, guided by coverage, and what it learns is kept in build-fuzz/learned;
# otherwise mutations of the seeds, without guidance.
set -eu
seconds=${1:-60}
test $# -gt 0 && shift
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
targets=${*:-acl dir extent group inode jbd2 super xattr}

if command -v clang >/dev/null; then
    CC=clang
    export CC
fi
test -f build-fuzz/build.ninja || meson setup build-fuzz -Dbuildtype=debugoptimized >/dev/null
ninja -C build-fuzz tests/fuzz/corpus >/dev/null
ninja -C build-fuzz -t targets all > build-fuzz/targets
failed=0
for target in $targets; do
    seeds=$top/build-fuzz/tests/fuzz/corpus/$target
    mkdir -p "build-fuzz/learned/$target" "build-fuzz/crashes/$target"
    if grep -q "tests/fuzz/guided_$target:" build-fuzz/targets; then
        kind=guided
    else
        kind=fuzz
    fi
    ninja -C build-fuzz "tests/fuzz/${kind}_$target" >/dev/null
    program=$top/build-fuzz/tests/fuzz/${kind}_$target
    cd "build-fuzz/crashes/$target"
    if test $kind = guided; then
        "$program" -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1 "../../learned/$target" "$seeds" > log 2>&1 || status=1
        sed -n 's/^stat::number_of_executed_units: */runs: /p' log
    else
        end=$(($(date +%s) + seconds)) first=1000
        while test "$(date +%s)" -lt "$end" && test "${status:-0}" = 0; do
            "$program" "$seeds" 20000 "$first" > log 2>&1 || status=1
            first=$((first + 20000))
        done
    fi
    cd "$top"
    if test "${status:-0}" = 0; then
        echo "fuzz $target: nothing found in $seconds s"
    else
        echo "fuzz $target: FAILED, see build-fuzz/crashes/$target"
        failed=1
    fi
    status=0
done
exit $failed
