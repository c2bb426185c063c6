#!/bin/bash
# The tests under clang's AddressSanitizer and UndefinedBehaviorSanitizer, on every instruction set of this machine:
#
#     tools/check_sanitizers.sh [pytest arguments]
#
# Needs what sanitized.sh needs. check_races.sh has the tests of threads.
set -euo pipefail
source "$(dirname "$0")/sanitized.sh"
build_sanitized "-fsanitize=address,undefined -fno-sanitize-recover=undefined -shared-libasan" 0

# What starts processes or compilers of its own, needs threads, or measures memory and style says nothing more here.
export LD_PRELOAD="$(runtime asan) $(gcc -print-file-name=libstdc++.so.6)"
export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0 UBSAN_OPTIONS=print_stacktrace=1
python -m pytest -q -x -s -p no:cacheprovider \
    --ignore=tests/api/test_demo.py --ignore=tests/api/test_typing.py --ignore=tests/runtime/test_architecture.py \
    --ignore=tests/runtime/test_cimport.py --ignore=tests/runtime/test_dispatch.py \
    --ignore=tests/runtime/test_fork.py --ignore=tests/runtime/test_threads.py \
    --deselect=tests/runtime/test_memory.py::test_memory_is_given_back "$@"
