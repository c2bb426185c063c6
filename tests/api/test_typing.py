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

# Its base class has no types.
ALLOWED = "csoftmax.threadpoolctl.Controller"


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
    check("mypy", "--strict", PACKAGE / "__init__.pyi", SAMPLE)


def test_stub_agrees_with_the_package(check):
    check("mypy.stubtest", "csoftmax", "--mypy-config-file", "stubtest.ini", "--allowlist", "allowlist")


def test_sample_runs():
    runpy.run_path(str(SAMPLE))
