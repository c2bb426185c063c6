"""The stub: mypy accepts it and finds what it promises, and it agrees with the package at run time."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import processes
import pytest

import csoftmax

pytest.importorskip("mypy", reason="needs mypy")

PACKAGE = Path(csoftmax.__file__).parent
SAMPLE = processes.SUPPORT / "typing_sample.py"

# The modules behind the public names have no annotations, the compiled one no source that mypy reads.
STUBTEST = """
[mypy]
[mypy-csoftmax.*]
ignore_errors = True
ignore_missing_imports = True
"""

# Modules that have no stub, and cannot be imported everywhere; and a class whose base has no types.
ALLOWED = r"csoftmax\._?(torch|dask)\w*" "\n" "csoftmax.threadpoolctl.Controller"


@pytest.fixture
def check(tmp_path):
    """Run a module of mypy that must have no complaint, the package lying where mypy looks for types."""
    (tmp_path / "types").mkdir()
    (tmp_path / "types" / "csoftmax").symlink_to(PACKAGE)
    (tmp_path / "stubtest.ini").write_text(STUBTEST)
    (tmp_path / "allowlist").write_text(ALLOWED)

    def run(module, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"MYPYPATH": str(tmp_path / "types"), "MYPY_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_strictly(check):
    check("mypy", "--strict", PACKAGE / "__init__.pyi", PACKAGE / "boosting.py", PACKAGE / "special.py", SAMPLE)


@pytest.mark.parametrize("name", ["torch", "dask"])
def test_optional_modules_strictly(check, name):
    pytest.importorskip(name)
    check("mypy", "--strict", PACKAGE / "__init__.pyi", PACKAGE / f"{name}.py")


def test_stub_agrees_with_the_package(check):
    allowed = "--allowlist", "allowlist", "--ignore-unused-allowlist"
    check("mypy.stubtest", "csoftmax", "--mypy-config-file", "stubtest.ini", *allowed)


def test_sample_runs():
    runpy.run_path(str(SAMPLE))
