#!/bin/bash
# The core on other systems and CPUs, by `zig cc`: every file is compiled for each target without a warning, and
# check_results.c runs where an emulator, or this machine, can run it.
#
#     tools/check_platforms.sh
#
# Needs zig, or Python with pip, which then installs it in a temporary environment; for all of the runs
# qemu-s390x-static and qemu-aarch64-static (Debian: qemu-user-static) and wine64. It is quick where zig has the objects
# in its cache.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

find_zig() {
    command -v zig && return
    python3 -m venv "$work/zig" && "$work/zig/bin/pip" -q install ziglang >&2
    "$work/zig/bin/python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))'
}
zig=$(find_zig)
export zig work

# AVX takes clang minutes and is the same on all systems: there it is not optimised, not linked, and not run.
compiled_only=(aarch64-macos x86_64-macos x86_64-linux-musl riscv64-linux-musl)
run=(x86-linux-musl s390x-linux-musl aarch64-linux-musl x86_64-windows-gnu)

# compile TARGET FILE.c: to $work/TARGET/FILE.o; only as far as its intermediate code where nothing is to be linked
compile() {
    local target=$1 file=$2 name
    name=$(basename "$file" .c)
    local flags=(-target "$target" -std=c11 -O1 -Wall -Wextra -Werror -fno-sanitize=undefined
                 -ffp-contract=off -fno-math-errno -fno-trapping-math)
    [[ $target = x86_64* ]] && flags+=(-DSTAND_IN_FOR_AVX -DCSM_SSE2)
    # From -O1 on, clang 22 gives other float32 losses on s390x.
    [[ $target = s390x* ]] && flags+=(-O0)
    if [[ " $run " = *" $target "* && ! ($target = x86_64* && $name = avx*) ]]; then
        "$zig" cc "${flags[@]}" -c "$file" -o "$work/$target/$name.o"
    else
        "$zig" cc "${flags[@]}" -Wno-unused-command-line-argument -S -emit-llvm -Xclang -disable-llvm-passes "$file" \
            -o "$work/$target/$name.ll"
    fi || { echo "FAILED: $file for $target" >&2; return 255; }      # then xargs stops
}
export -f compile

for target in "${compiled_only[@]}" "${run[@]}"; do
    mkdir "$work/$target"
    printf "$target %s\n" csoftmax/core/*.c csoftmax/core/isa/*.c tools/check_results.c
done | run="${run[*]}" xargs -P "$(nproc)" -n 2 bash -c 'compile "$@"' compile
echo "compiled for ${compiled_only[*]} ${run[*]}"

for target in "${run[@]}"; do
    "$zig" cc -target "$target" "$work/$target"/*.o -lm -o "$work/$target/check.exe"
done

# run_on TARGET COMMAND...: the checks, by a command that is given their program; skipped where it is not there
run_on() {
    local target=$1
    shift
    if [ $# -gt 0 ] && ! command -v "$1" > /dev/null; then
        echo "SKIPPED: $target, no $1"
        return
    fi
    printf '%-20s' "$target"
    "$@" "$work/$target/check.exe"
}

run_on x86-linux-musl
run_on s390x-linux-musl qemu-s390x-static
run_on aarch64-linux-musl qemu-aarch64-static
export WINEPREFIX=$work/wine WINEDEBUG=-all PATH=$PATH:/usr/lib/wine
run_on x86_64-windows-gnu wine64 2> /dev/null
if command -v wineserver > /dev/null; then
    wineserver -k || true      # that of this prefix; else it writes to a folder that is gone
fi
