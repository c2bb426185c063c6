# `just --list` says what there is. Needs just (`pip install rust-just`) and an environment with the [test] extra.

python := env("PYTHON", "python")
instance := "avx512_f32"
flags := "-O2 -mtune=skylake -falign-functions=64 -std=gnu11 -ffp-contract=off -fno-math-errno -fno-trapping-math"

# Build the extension in place
build:
    {{python}} setup.py build_ext --inplace

# Build it for a debugger: -O0 -g, assertions
debug:
    CSOFTMAX_DEBUG=1 {{python}} setup.py build_ext --inplace

# The tests; arguments go to pytest
test *arguments:
    {{python}} -m pytest {{arguments}}

# The tests on each instruction set of this CPU
test-isa *arguments:
    for isa in $({{python}} -c 'import csoftmax; print(*csoftmax.show_config("dicts")["isas"])'); do CSOFTMAX_ISA=$isa {{python}} -m pytest {{arguments}} || exit 1; done

# Style of Python, Cython and types
lint:
    ruff check
    ruff format --check
    cython-lint --max-line-length 120 csoftmax
    {{python}} -m pytest -q -k typing

# Format Python, and mend what ruff can
fmt:
    ruff check --fix
    ruff format

# ns per element of every kernel of one instance: `just instance=avx2_f64 kernels 4096 128`
kernels *shape:
    cc {{flags}} -DINSTANCE='"../csoftmax/core/isa/{{instance}}.c"' bench/kernels.c -lm -o build/kernels
    build/kernels {{shape}}

# Freeze the code and the times of all kernels in a folder
freeze-baseline folder="build/baseline":
    {{python}} tools/baseline.py freeze {{folder}} --times

# Compare them with what there is now
compare-baseline folder="build/baseline":
    {{python}} tools/baseline.py compare {{folder}} --times

# The benchmark against peers (needs the [bench] extra)
bench *arguments:
    {{python}} bench/compare/run.py {{arguments}}

# The documentation site, in build/site (needs the [docs] extra)
docs:
    {{python}} -m sphinx -W --keep-going -b html docs build/site

# Which lines of the Python modules the tests reach (needs coverage)
coverage:
    {{python}} -m coverage run --source csoftmax -m pytest
    {{python}} -m coverage report

# AddressSanitizer and UndefinedBehaviorSanitizer; ThreadSanitizer (needs clang 19)
sanitize *arguments:
    tools/check_sanitizers.sh {{arguments}}
    tools/check_races.sh
