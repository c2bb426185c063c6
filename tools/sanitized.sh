# For the checks beside it, which source this: the last commit, built in a clone with clang's sanitizers. Needs clang 19
# and its runtime (Debian: clang-19 libclang-rt-19-dev) and an environment with the [test] extra.

# build_sanitized FLAGS THREADS: leaves the shell in the clone, which goes when the shell does
build_sanitized() {
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    git clone -q . "$work/clone"
    cd "$work/clone"
    CC="clang-19 -g1 $1" LDSHARED="clang-19 -shared $1" CSOFTMAX_THREADS=$2 python setup.py -q build_ext --inplace
    export PYTHONPATH=$PWD
}

# runtime NAME: the library that python, which is not instrumented, must load first
runtime() { clang-19 -print-file-name="libclang_rt.$1-x86_64.so"; }
