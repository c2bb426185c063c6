"""The architecture: which file includes which, what may stand where, how large each part is, how it is built.

The first half reads the sources; the second compiles the core and reads the objects, or builds a copy of the
tree with a compiler that only keeps a list.
"""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

import processes
import pytest

import csoftmax

ROOT = processes.ROOT
PACKAGE = ROOT / "csoftmax"
CORE = PACKAGE / "core"


def without_comments(path):
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(), flags=re.DOTALL)


CODE = {
    path.relative_to(CORE).as_posix(): without_comments(path)
    for path in sorted(CORE.rglob("*"))
    if path.suffix in (".c", ".h")
}
"""The C files of the core, without comments."""

INCLUDES = {
    name: [
        Path(os.path.relpath(CORE / name / ".." / included, CORE)).as_posix()
        for included in re.findall(r'#\s*include\s*"([^"]+)"', code)
    ]
    for name, code in CODE.items()
}
"""What each includes of the core, in order."""

INSTANCES = [name for name in CODE if fnmatch(name, "isa/*.c")]
VECTORS = {"neon": "v128", "sse2": "v128"}
"""Levels that share their vectors."""
ALGORITHMS = [name for name in CODE if fnmatch(name, "kernels/*.h")]
HEADERS = [name for name in CODE if name.endswith(".h")]


def places(pattern, names=CODE):
    """The files in which a pattern is found."""
    return [name for name in names if re.search(pattern, CODE[name])]


# What may stand where

ONLY_IN = {
    "intrinsics": (r"\b_mm\d*_|\b__m(64|128|256|512|mask)|\bv[a-z0-9]+q_[fsu](32|64)\b", "vec/*.h"),
    "headers of intrinsics": (r"<(\w*intrin|arm_\w+)\.h>", "isa/target.h"),
    "builtins of x86": (r"\b__builtin_ia32_", "dispatch.c fpenv.h"),
    "assembly": (r"\basm\b|\b__asm", "fpenv.h"),
    "detection of CPUs": (r"\b__builtin_cpu_|cpuid|xgetbv|\bgetauxval\b", "dispatch.c"),
    "threads and forks": (r"\bpthread_|<pthread\.h>", "threads_posix.h"),
    "Windows": (r"<windows\.h>|\b_WIN32\b", "threads.h threads_windows.h"),
    "atomics": (r"\batomic_|\b_Atomic\b|<stdatomic\.h>", "pool.c thread_count.c"),
    "targets of compilation": (r"\b(push|pop)_options\b|\bGCC target\b|\battribute push\b", "isa/target.h"),
}
NOWHERE = {
    "OpenMP": r"#\s*pragma\s+omp\b|\bomp_|<omp\.h>|\b_OPENMP\b",
    "Python": r"Python\.h|\bPy[A-Z_]\w*|\bnpy_",
    "fma of libm": r"\bfma[fl]?\s*\(",
    "token pasting": r"##",
    "alignment that is assumed": r"\b_mm\d*_(load|store|stream)_(ps|pd)\b|\bassume_aligned\b",
}


@pytest.mark.parametrize("what", ONLY_IN)
def test_stands_in_one_place(what):
    pattern, allowed = ONLY_IN[what]
    found = places(pattern)
    assert found
    assert [name for name in found if not any(fnmatch(name, one) for one in allowed.split())] == []


@pytest.mark.parametrize("what", NOWHERE)
def test_stands_nowhere(what):
    assert places(NOWHERE[what]) == []


FLOATING = r"(?<![a-zA-Z])b?f(loat)?(16|32|64)(?!\d)|\bfloat\b|\dp?[-+\d.]*f\b"
INSTRUCTION_SETS = r"(?i)(?<![a-z])(avx|sse|neon|sve|[xyz]mm|x86|aarch64)|\bscalar\b"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithms_name_neither_dtype_nor_instruction_set(name):
    """But for the numbers that are double whatever the dtype: of a block (block.h), and the parts of an `acc`."""
    assert re.findall(INSTRUCTION_SETS, CODE[name]) == []
    assert re.search(FLOATING, CODE[name]) is None
    allowed = r"(scale|temperature|cap|value)\b|\w+\[(ACC_SIZE|V_LANES)\]|\*"
    assert re.findall(rf"\bdouble\s+(?!{allowed})\S+", CODE[name]) == []


@pytest.mark.parametrize("name", [name for name in CODE if fnmatch(name, "math/*.h")])
def test_functions_name_no_instruction_set(name):
    assert re.findall(INSTRUCTION_SETS, CODE[name]) == []
    if not re.search(r"_f\d\d\.h", name):
        assert re.search(FLOATING, CODE[name]) is None


def test_the_greps_see_what_they_look_for():
    for text in ("exp_f32", "csm_f64_avx2", "float x", "0.5f", "0x1p-3f", "0x1.8p23f"):
        assert re.search(FLOATING, text)
    assert not re.search(FLOATING, "e - f + half * exp_q(t)")
    for text in ("__AVX2__", "csm_f32_avx512", "v_neon", "scalar", "%zmm0", "__x86_64__"):
        assert re.search(INSTRUCTION_SETS, text)
    assert not re.search(INSTRUCTION_SETS, "assert scalars, CSM_LOSSES, __m")


RETIRED = """
    strand strip gist lone temper lift asks stays alive seat batch along across turned wide halves joint roomy doubtful
    span sleeper
"""


@pytest.mark.parametrize("name", CODE)
def test_no_identifier_has_a_retired_word(name):
    words = {part.lower() for word in re.findall(r"[A-Za-z]\w*", CODE[name]) for part in word.split("_")}
    assert words & set(RETIRED.split()) == set()


def test_thresholds_stand_in_one_file():
    """Numbers that choose how something is computed; not those of formats, dtypes and polynomials."""
    others = r"PHI_|CSM_UNSETTLED|KEEPS_|SHOWS|UP\b|MOST_FIELDS|BUFFER_SIZE|_POSIX|CSM_FPENV"
    allowed = f"(?!{others})"
    pattern = rf"enum\s*{{\s*{allowed}\w+ = \(?\d|#define {allowed}[A-Z_]+ \(*(\(ptrdiff_t\))?\d"
    files = [name for name in CODE if not fnmatch(name, "vec/*") and not fnmatch(name, "math/*_f??.h")]
    assert places(pattern, [name for name in files if name != "csoftmax.h"]) == ["tuning.h"]


# Who may include whom

KNOWS = {
    "run.c": {"plan.h", "parallel.h", "tuning.h", "math/product.h"},
    "plan.c": {"plan.h", "tuning.h"},
    "regime.c": {"block.h", "tuning.h"},
    "factors.c": {"plan.h", "math/double.h"},
    "per_row.c": {"lines.h"},
    "reduce_loss.c": {"lines.h"},
    "lines.h": {"plan.h"},
    "staging.c": {"plan.h"},
    "options.c": {"plan.h"},
    "segments.c": {"plan.h", "parallel.h", "tuning.h"},
    "plan.h": {"convert.h", "block.h", "labels.h", "fpenv.h", "tuning.h"},
    "convert.c": {"convert.h", "block.h", "tuning.h"},
    "labels.c": {"labels.h", "convert.h", "block.h", "tuning.h"},
    "dispatch.c": {"block.h"},
    "convert.h": {"csoftmax.h"},
    "labels.h": {"csoftmax.h"},
    "block.h": {"csoftmax.h", "tuning.h"},
    "pool.c": {"threads.h", "parallel.h", "fpenv.h", "tuning.h"},
    "thread_count.c": {"threads.h", "parallel.h", "tuning.h"},
    "parallel.h": {"csoftmax.h"},
    "threads.h": {"threads_posix.h", "threads_windows.h", "threads_none.h"},
    "threads_posix.h": {"tuning.h"},
    "threads_windows.h": {"tuning.h"},
}


def vectors_of(instance):
    """The vector layer of an instance."""
    level, dtype = Path(instance).stem.split("_")
    return f"vec/{VECTORS.get(level, level)}_{dtype}.h"


def known(name):
    """What a file of the core may include of it."""
    constants = re.compile(r"_b?f\d\d\.h$")
    math = {other for other in CODE if fnmatch(other, "math/*.h")}
    shared = {other for other in math if not constants.search(other)}
    if name in INSTANCES:
        other_dtypes = rf"_(?!{Path(name).stem.split('_')[1]}\.)b?f\d\d\.h$"
        own = {other for other in math if not re.search(other_dtypes, other)}
        return {"block.h", "isa/target.h", vectors_of(name), "kernels/table.h"} | own
    if name in ALGORITHMS:
        return set(ALGORITHMS) | {"block.h", "tuning.h", "vec/vec.h"} | shared
    if name in math:
        return shared | {"vec/vec.h"} | ({"block.h"} if name == "math/power.h" else set())
    if name == "vec/vec.h":
        return {"isa/target.h", "vec/scalar_f32.h", "vec/scalar_f64.h"} | math
    if fnmatch(name, "vec/*.h"):
        return {"isa/target.h", "math/product.h"}
    return KNOWS.get(name, set())


@pytest.mark.parametrize("name", CODE)
def test_includes(name):
    assert [other for other in INCLUDES[name] if other not in known(name)] == []
    assert name == "vec/vec.h" or len(set(INCLUDES[name])) == len(INCLUDES[name])


def includes_in_a_circle(name, above=()):
    return any(other in above or includes_in_a_circle(other, (*above, other)) for other in INCLUDES[name])


@pytest.mark.parametrize("name", [name for name in CODE if not fnmatch(name, "vec/vec.h") and "_f" not in name])
def test_includes_lead_one_way(name):
    """But for the stand-in vectors of a header that is compiled alone."""
    if "vec/vec.h" not in all_included(name):
        assert not includes_in_a_circle(name)
    assert name not in set().union(*(all_included(other) for other in INCLUDES[name] if other != "vec/vec.h"), set())


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_compiles_alone(name, tmp_path):
    source = tmp_path / "alone.c"
    source.write_text(f'#include "{CORE / name}"\n')
    flags = [flag for flag in flags_of_setup() if flag.startswith("-std")] + ["-fsyntax-only", "-Wall", "-Werror"]
    flags += ["-Wno-unused-function", "-Wno-unused-const-variable", "-Wno-unknown-warning-option", "-Wno-psabi"]
    if name == "threads_windows.h" and sys.platform != "win32":
        pytest.skip("for Windows")
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    if name.startswith("vec/v128") and not (is_x86 or platform.machine() in ("aarch64", "arm64", "ARM64")):
        pytest.skip("intrinsics of x86 and ARM")
    if name.startswith("vec/avx"):
        if not is_x86:
            pytest.skip("intrinsics of x86")
        features = re.search(r'TARGET_BEGIN\("([^"]+)"\)', instance_of(name))[1]
        flags += [f"-m{feature}" for feature in features.split(",")]
    output_of(*processes.c_compiler(), *flags, source)


def instance_of(header):
    return CODE[f"isa/{Path(header).stem}.c"]


def test_every_level_of_the_build_has_its_instances():
    levels = {Path(name).stem.split("_")[0] for name in INSTANCES}
    assert {f"isa/{level}_{dtype}.c" for level in levels for dtype in ("f32", "f64")} <= set(INSTANCES)
    assert set(csoftmax.show_config(mode="dicts")["built"]) <= levels


@pytest.mark.parametrize("name", INSTANCES)
def test_an_instance_joins_one_vector_header_to_the_engine(name):
    assert re.fullmatch(r"isa/[a-z0-9]+_(f16|bf16|f32|f64)\.c", name)
    level, dtype = Path(name).stem.split("_")
    assert vectors_of(name) in INCLUDES[name]
    assert INCLUDES[name][:2] == ["block.h", "isa/target.h"]
    assert INCLUDES[name][-1] == "kernels/table.h"
    assert f'CSM_ISA "{level}"' in CODE[name]
    assert f"CSM_TABLE csm_{dtype}_{level}\n" in CODE[name]


def all_included(name, seen=None):
    """What a file includes, directly or not."""
    seen = set() if seen is None else seen
    if name not in seen:
        seen.add(name)
        for other in INCLUDES[name]:
            all_included(other, seen)
    return seen


@pytest.mark.parametrize("name", INSTANCES)
def test_system_headers_come_before_the_target(name):
    """Read after it, their inline functions would be compiled for it."""
    early, late = (
        {
            header
            for include in names
            for other in all_included(include)
            for header in re.findall(r"#\s*include\s*<([^>]+)>", CODE[other])
        }
        for names in (INCLUDES[name][:2], INCLUDES[name][2:])
    )
    assert {"math.h", "string.h"} <= early
    assert late <= early
    begin = CODE[name].find("TARGET_BEGIN")
    assert begin == -1 or CODE[name].find("target.h") < begin < CODE[name].find("../math/product.h")
    assert CODE[name].count("TARGET_BEGIN") == CODE[name].count("TARGET_END")


def features_tested_by(level):
    """The CPU features that the detection of a level asks for, its own and those of levels it asks for."""
    body = re.search(rf"static int has_{level}\(void\)\s*{{(.*?)}}", CODE["dispatch.c"], re.DOTALL)[1]
    others = (features_tested_by(other) for other in re.findall(r"has_(\w+)\(\)", body))
    return {name.lower() for name in re.findall(r"\bbit_(\w+)", body)}.union(*others)


@pytest.mark.parametrize("name", places(r"TARGET_BEGIN", INSTANCES))
def test_every_feature_of_a_target_is_detected(name):
    features = re.search(r'TARGET_BEGIN\("([^"]+)"\)', CODE[name])[1].split(",")
    assert {*features, "avx", "osxsave"} == features_tested_by(Path(name).stem.split("_")[0])


MODULES_KNOW = {
    "__init__": {"_csoftmax", "_control", "_linear"},
    "__main__": set(),
    "_control": {"_coerce", "_csoftmax", "_thread_limits"},
    "_linear": {"_coerce", "_csoftmax", "_products"},
    "_products": {"_coerce"},
    "_coerce": set(),
    "_thread_limits": set(),
    "threadpoolctl": set(),
    "_formulas": set(),
    "boosting": set(),
    "special": {"_formulas"},
    "torch": {"_torch_autograd"},
    "_torch_autograd": {"_torch_linear", "_torch_ops"},
    "_torch_linear": {"_torch_ops"},
    "_torch_ops": set(),
    "dask": {"_dask_blocks", "_dask_graphs"},
    "_dask_graphs": {"_dask_losses"},
    "_dask_losses": {"_dask_blocks"},
    "_dask_blocks": set(),
}
OTHER_PACKAGES = {
    "threadpoolctl": {"threadpoolctl"},
    "torch": {"torch"},
    "_torch_autograd": {"torch"},
    "_torch_linear": {"torch"},
    "_torch_ops": {"torch", "ml_dtypes"},
    "dask": {"dask"},
    "_dask_graphs": {"dask"},
}
"""What optional modules need beside NumPy; nothing else may import them."""


def imports_of(path):
    """(top-level packages, private modules of csoftmax) that a Python file imports anywhere."""
    packages, private = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        packages |= {name.split(".")[0] for name in names}
        private |= {part for name in names for part in name.split(".")[1:2] if re.match("_[a-z]", part)}
    return packages, private


@pytest.mark.parametrize("name", MODULES_KNOW)
def test_python_modules_import(name):
    packages, private = imports_of(PACKAGE / f"{name}.py")
    assert packages <= {"csoftmax", "numpy"} | sys.stdlib_module_names | OTHER_PACKAGES.get(name, set())
    assert private <= MODULES_KNOW[name]


def test_every_python_module_has_its_place():
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(MODULES_KNOW)


def test_the_binding_knows_the_c_api_alone():
    files = [path for path in PACKAGE.iterdir() if path.suffix in (".pyx", ".pxi", ".pxd")]
    externs = {(path.name, of) for path in files for of in re.findall(r'extern from "([^"]+)"', path.read_text())}
    assert externs == {("_capi.pxd", "core/csoftmax.h"), ("_csoftmax.pyx", "Python.h")}
    lines = (PACKAGE / "__init__.pxd").read_text().splitlines()
    assert all(line.startswith(("from csoftmax._csoftmax cimport ", "#")) for line in lines if line)


# What each part weighs

LINES = {
    "csoftmax/core/isa/*.c": 17,
    "csoftmax/core/vec/*.h": 260,
    "csoftmax/core/math/*.h": 160,
    "csoftmax/core/kernels/*.h": 350,
    "csoftmax/core/*.h": 350,
    "csoftmax/core/*.c": 350,
    "csoftmax/core/dispatch.c": 120,
    "setup.py": 140,
    "README.md": 120,
}


@pytest.mark.parametrize("pattern", LINES)
def test_files_stay_short(pattern):
    sizes = {path.name: len(path.read_text().splitlines()) for path in ROOT.glob(pattern)}
    assert sizes
    assert {name: size for name, size in sizes.items() if size > LINES[pattern]} == {}


def test_documents_stay_short():
    """What a reader gets through, and what no commit makes larger: words of notes, bytes of pages and of data."""
    notes = sum(len(path.read_text().split()) for path in ROOT.glob("docs/notes/*.md"))
    data = sum(path.stat().st_size for path in ROOT.glob("docs/benchmarks/*"))
    terms = [line for line in (ROOT / "docs/glossary.md").read_text().splitlines() if line.startswith("| ")]
    assert notes <= 11_000
    assert (ROOT / "docs/performance.md").stat().st_size <= 8 * 1024
    assert data <= 40_000
    assert len(terms) <= 1 + 40


def test_lines_fit():
    long = [
        f"{path.name}:{number}"
        for path in (ROOT / "csoftmax" / "core").rglob("*.[ch]")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 120
    ]
    assert long == []


# The objects


def flags_of_setup():
    """The list FLAGS of setup.py."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "FLAGS":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no FLAGS")


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("flag", [flag for flag in flags_of_setup() if re.match("-fno-.*math", flag)])
def test_gcc_pragmas_keep_the_flags_of_mathematics(flag):
    """Those of gcc 9 to 11 take back what they do not name, as it is or, for scalar kernels, the other way round."""
    pragmas = re.findall(r"GCC optimize\((.*)\)", CODE["isa/target.h"])
    assert pragmas
    assert all(re.search(rf'"(no-)?{flag.removeprefix("-fno-")}"', names) for names in pragmas)


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """The object of every C file of the core, compiled as setup.py does, but in less time."""
    built = csoftmax.show_config(mode="dicts")["built"]
    asked = ["-DCSM_SSE2"] if "sse2" in built else []
    compiler = [*processes.c_compiler(), *flags_of_setup(), *asked, "-O1", "-fPIC", "-c"]
    folder = tmp_path_factory.mktemp("objects")
    compiled = {name: folder / (name.replace("/", "_") + ".o") for name in CODE if name.endswith(".c")}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(output_of, *compiler, CORE / name, "-o", o) for name, o in compiled.items()]:
            done.result()
    return compiled


@pytest.mark.parametrize("name", INSTANCES)
def test_an_instance_exports_its_table_alone(objects, name):
    need("nm")
    level, dtype = Path(name).stem.split("_")
    symbols = output_of("nm", "--extern-only", "--defined-only", str(objects[name])).split()
    built = csoftmax.show_config(mode="dicts")["built"]
    expected = [f"csm_{dtype}_{level}"] if level in built else []
    assert [symbol.lstrip("_") for symbol in symbols[2::3]] == expected


@pytest.mark.parametrize("name", [name for name in CODE if name.endswith(".c") and name not in INSTANCES])
def test_symbols_carry_the_prefix(objects, name):
    need("nm")
    symbols = output_of("nm", "--extern-only", "--defined-only", str(objects[name])).split()[2::3]
    assert symbols
    assert all(symbol.lstrip("_").startswith("csm_") for symbol in symbols)


AVX, AVX512 = r"\tv[a-z]|%[yz]mm|%k[0-7]", r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|[23]\d)"
MUST_HOLD = {"avx2": r"%ymm", "avx512": r"%zmm"}
MUST_NOT_HOLD = {"avx2": AVX512, "avx512": r"%[xyz]mm(3[2-9]|[4-9]\d)"}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly")
@pytest.mark.parametrize("name", [name for name in CODE if name.endswith(".c")])
def test_wide_registers_stay_in_their_instance(objects, name):
    need("objdump")
    level = Path(name).stem.split("_")[0] if name in INSTANCES else "baseline"
    if name in INSTANCES and level not in csoftmax.show_config(mode="dicts")["built"]:
        pytest.skip("not built")
    code = output_of("objdump", "-d", "--no-show-raw-insn", str(objects[name]))
    assert re.search(MUST_HOLD.get(level, r"\tret"), code)
    assert re.search(MUST_NOT_HOLD.get(level, AVX), code) is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads the dynamic symbols of ELF")
def test_the_extension_exports_its_init_function_alone():
    need("nm")
    symbols = output_of("nm", "--dynamic", "--defined-only", csoftmax._csoftmax.__file__).split()
    assert symbols[2::3] == ["PyInit__csoftmax"]
    needed = output_of("nm", "--dynamic", "--undefined-only", csoftmax._csoftmax.__file__)
    assert not re.search(r"\bU (fma|exp|log1?p?|pow)[fl]?(@|$)", needed, re.MULTILINE)


# The build

STAND_IN = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/calls"
while [ "$1" != -o ]; do shift; done
: > "$2"
"""


class Tree:
    """A copy of the sources, built by a compiler that writes empty files and a list of its calls."""

    def __init__(self, folder):
        self.root, self.calls, compiler = folder / "tree", folder / "calls", folder / "stand-in"
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(PACKAGE, self.root / "csoftmax", ignore=ignored)
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy2(ROOT / name, self.root)
        compiler.write_text(STAND_IN)
        compiler.chmod(0o755)
        self.environment = {"CC": str(compiler), "LDSHARED": f"{compiler} -shared"}

    def run(self, **environment):
        command = ("setup.py", "-q", "build_ext", "--inplace")
        return processes.run_python(*command, cwd=self.root, **self.environment, **environment)

    def build(self, **environment):
        """The C files of the core that a build compiles."""
        self.calls.write_text("")
        done = self.run(**environment)
        assert done.returncode == 0, done.stderr
        return sorted(re.findall(r" -c csoftmax/core/(\S+\.c) ", self.calls.read_text()))


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the compiler is a shell script")
def test_an_edited_header_or_changed_flags_rebuild(tmp_path):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    tree, everything = Tree(tmp_path), sorted(name for name in CODE if name.endswith(".c"))
    assert tree.build() == everything
    assert "-Wl,-s" not in tree.calls.read_text(), "a build in place keeps its symbols, for profilers"
    assert tree.build() == []
    for header in ("parallel.h", "math/exp_f32.h", "vec/scalar_f64.h", "isa/target.h"):
        path = tree.root / "csoftmax" / "core" / header
        path.write_text(path.read_text() + "\n")
        assert tree.build() == everything, header
    assert tree.build(CSOFTMAX_THREADS="0") == everything
    assert tree.build(CSOFTMAX_THREADS="0") == []


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the compiler is a shell script")
def test_a_debug_build_is_not_optimised(tmp_path):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    tree = Tree(tmp_path)
    tree.build(CSOFTMAX_DEBUG="1")
    for call in re.findall(r".* -c csoftmax/.*", tree.calls.read_text()):
        flags = call.split()
        assert [flag for flag in flags if flag.startswith("-O")][-1] == "-O0"
        assert [flag for flag in flags if re.fullmatch("-g[0-3]?", flag)][-1] == "-g"
        assert "NDEBUG" not in call or flags.index("-UNDEBUG") > flags.index("-DNDEBUG")
    assert tree.build() == sorted(name for name in CODE if name.endswith(".c"))


@pytest.mark.parametrize("command", ["/nonexistent/cc", "false"])
def test_a_build_without_a_compiler_says_what_to_do(tmp_path, command):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    tree = Tree(tmp_path)
    # Nothing is left for Cython to do.
    (tree.root / "csoftmax" / "_csoftmax.c").touch()
    tree.environment = {"CC": command, "LDSHARED": f"{command} -shared"}
    done = tree.run()
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"\ncsoftmax is built from C, and `{command}` builds no program: install a C compiler"
    )
    assert "Traceback" not in done.stderr


WAITS_FOR_ANOTHER = """
case "$*" in *csoftmax/core/*)
    mkdir "$(dirname "$0")/first" 2> /dev/null || mkdir -p "$(dirname "$0")/second"
    for i in $(seq 600); do [ -d "$(dirname "$0")/second" ] && break; sleep 0.1; done
    [ -d "$(dirname "$0")/second" ] || exit 1
esac
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the compiler is a shell script")
def test_files_are_compiled_together(tmp_path):
    """The first is done only after the second has begun; a file that fails fails the build."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    tree, compiler = Tree(tmp_path), tmp_path / "stand-in"
    first, rest = STAND_IN.split("\n", 1)
    compiler.write_text(first + WAITS_FOR_ANOTHER + rest)
    assert tree.build(MAX_JOBS="2") == sorted(name for name in CODE if name.endswith(".c"))
    compiler.write_text(first + '\ncase "$*" in *core/pool.c*) exit 1; esac\n' + rest)
    with pytest.raises(AssertionError, match=r"core/pool\.c.*(status|code) 1"):
        tree.build(MAX_JOBS="2", CSOFTMAX_THREADS="0")
