#!/bin/bash
# The tests under clang's AddressSanitizer and UndefinedBehaviorSanitizer, on every instruction set of this machine:
#
#     tools/check_sanitizers.sh [pytest arguments]
#
# Needs clang 19 and its runtime (Debian: clang-19 libclang-rt-19-dev) and an environment with the [test] extra. Works on
# the last commit, in a clone; the serial library, since libomp is not instrumented.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined -shared-libasan"

git clone -q . "$work/clone"
cd "$work/clone"
CC="clang-19 -g1 $sanitize" LDSHARED="clang-19 -shared $sanitize" CSOFTMAX_OPENMP=0 \
    python setup.py -q build_ext --inplace

# What starts processes or compilers of its own, needs threads, or measures memory and style says nothing more here.
export LD_PRELOAD="$(clang-19 -print-file-name=libclang_rt.asan-x86_64.so) $(gcc -print-file-name=libstdc++.so.6)"
export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=$PWD
python -m pytest -q -x -s -p no:cacheprovider \
    --ignore=tests/test_cimport.py --ignore=tests/test_threads.py --ignore=tests/test_fork.py \
    --ignore=tests/test_tour.py --ignore=tests/test_typing.py --ignore=tests/test_dispatch.py \
    --ignore=tests/test_architecture.py --deselect=tests/test_options.py::test_memory_is_given_back "$@"
