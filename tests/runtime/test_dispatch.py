"""Import: the instruction set that is chosen, what is loaded with it, and what an import that fails says."""

import json
import shutil
import sys
from itertools import combinations
from pathlib import Path

import cases
import limits
import numpy as np
import processes
import pytest

import csoftmax

CONFIG = csoftmax.show_config(mode="dicts")
UNKNOWN = ["sse9", "AVX2", "avx", "avx2 ", "avx512,avx2", "0", "auto"]
ELSEWHERE = sorted({"avx512", "avx2", "sse2", "neon", *CONFIG["built"]} - set(CONFIG["isas"]))
"""Levels of other builds and other CPUs."""


def isa_under(value):
    """The level that runs where CSOFTMAX_ISA has a value; unset where None."""
    code = "import csoftmax; print(csoftmax.show_config(mode='dicts')['isa'])"
    done = processes.run_python("-c", code, CSOFTMAX_ISA=value)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_levels_are_listed_best_first():
    assert CONFIG["built"][-1] == CONFIG["isas"][-1] == "scalar"
    assert CONFIG["isas"] == [level for level in CONFIG["built"] if level in CONFIG["isas"]]


def test_each_level_can_be_chosen(isa):
    assert isa_under(isa) == isa


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_the_best_level_is_the_default(value):
    assert isa_under(value) == CONFIG["isas"][0]


@pytest.mark.parametrize("value", UNKNOWN + ELSEWHERE)
def test_a_level_that_cannot_run_is_refused(value):
    done = processes.run_python("-c", "import csoftmax", CSOFTMAX_ISA=value)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"ImportError: CSOFTMAX_ISA={value} ")
    assert error.endswith(": this CPU and build have " + ", ".join(CONFIG["isas"]))


def test_the_level_is_read_once(monkeypatch):
    monkeypatch.setenv("CSOFTMAX_ISA", "sse9")
    assert csoftmax.show_config(mode="dicts") == CONFIG
    np.testing.assert_array_equal(csoftmax.softmax(np.zeros(2)), 0.5)


@pytest.mark.parametrize("variant", cases.VARIANTS)
def test_levels_agree(levels, variant):
    """Each is within the bound of the truth: two of them are within twice the bound of each other."""
    for dtype in cases.DTYPES:
        for n in (2, 3, 10, 33):
            families = ("normal",) if variant in cases.REDUCED else tuple(cases.FAMILIES)
            families = cases.FINITE if variant == "kl_divergence" else families
            batch = cases.batch(dtype, n, families=families)
            results = {level: cases.VARIANTS[variant](csm, batch) for level, csm in levels.items()}
            for one, other in combinations(results, 2):
                for output, a in results[one].items():
                    with np.errstate(invalid="ignore"):
                        truth = limits.TRUTHS[output](batch)
                    a, b = np.asarray(a).astype(limits.EXTENDED), np.asarray(results[other][output])
                    error = limits.errors(b, limits.Truth(a, truth.size, truth.where)).max()
                    bound = 2 * getattr(limits.LIMITS[output], dtype)
                    assert error <= bound, f"{output}, {dtype}, n = {n}: {one} and {other} {error} ULP apart"


# What an import loads

LOADED = """
import json, sys, numpy
before = set(sys.modules)
import csoftmax
after = {name: getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - before}
print(json.dumps(after))
"""


def test_import_loads_numpy_and_nothing_else():
    done = processes.run_python("-c", LOADED)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    files = {name.split(".")[0] for name, file in loaded.items() if file}
    assert "csoftmax" in files
    assert files - {"csoftmax", "numpy"} <= sys.stdlib_module_names
    in_memory = {name for name, file in loaded.items() if not file} - sys.stdlib_module_names
    assert all("cython" in name for name in in_memory)
    assert {"csoftmax.boosting", "csoftmax.dask", "csoftmax.torch", "csoftmax.__main__"}.isdisjoint(loaded)


# Imports that fail


@pytest.fixture
def clone(tmp_path):
    """A copy of the package in which nothing is compiled."""
    ignored = shutil.ignore_patterns("core", "*.so", "*.pyd", "__pycache__")
    shutil.copytree(Path(csoftmax.__file__).parent, tmp_path / "csoftmax", ignore=ignored)
    return tmp_path


def error_in(clone, *command):
    """The last line that Python prints when it fails in a clone, with NumPy but no csoftmax installed."""
    numpy_alone = str(Path(np.__file__).parents[1])
    done = processes.run_python("-S", *command, cwd=clone, PYTHONPATH=numpy_alone)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [("-c", "import csoftmax"), ("-m", "csoftmax")], ids=" ".join)
def test_a_clone_that_is_not_compiled_says_so(clone, command):
    error = error_in(clone, *command)
    assert "ImportError: csoftmax is not compiled in this folder" in error
    assert "shadows" in error and "pip install" in error


def test_another_missing_module_is_named(clone):
    """The compiled module is there, but what it imports is not: the advice to compile would mislead."""
    (clone / "csoftmax" / "_csoftmax.py").write_text("import a_module_that_is_missing\n")
    error = error_in(clone, "-c", "import csoftmax")
    assert error == "ModuleNotFoundError: No module named 'a_module_that_is_missing'"
