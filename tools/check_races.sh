#!/bin/bash
# The tests of threads and forks under clang's ThreadSanitizer:
#
#     tools/check_races.sh [pytest arguments]
#
# Needs clang 19, its runtime and libomp (Debian: clang-19 libclang-rt-19-dev libomp-19-dev) and an environment with the
# [test] extra. Works on the last commit, in a clone.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sanitize="-fsanitize=thread"

git clone -q . "$work/clone"
cd "$work/clone"
CC="clang-19 -g1 $sanitize" LDSHARED="clang-19 -shared $sanitize" CSOFTMAX_OPENMP=1 \
    python setup.py -q build_ext --inplace

# A race ends its process with status 66. Python is not instrumented.
export LD_PRELOAD="$(clang-19 -print-file-name=libclang_rt.tsan-x86_64.so)" PYTHONPATH=$PWD
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 exitcode=66"
setarch -R python -m pytest -q -x -p no:cacheprovider tests/test_threads.py tests/test_fork.py \
    -k "bits or concurrent or fork or pool" "$@"
