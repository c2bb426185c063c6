#!/bin/bash
# The tests of threads and forks under clang's ThreadSanitizer:
#
#     tools/check_races.sh [pytest arguments]
#
# Needs what sanitized.sh needs.
set -euo pipefail
source "$(dirname "$0")/sanitized.sh"
build_sanitized "-fsanitize=thread" 1

# A race ends its process with status 66.
export LD_PRELOAD="$(runtime tsan)" TSAN_OPTIONS="ignore_noninstrumented_modules=1 exitcode=66"
setarch -R python -m pytest -q -x -p no:cacheprovider tests/runtime/test_threads.py tests/runtime/test_fork.py \
    -k "bits or concurrent or fork or pool" "$@"
