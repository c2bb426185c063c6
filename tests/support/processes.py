"""Programs that tests run: Python in a process of its own, and the system's C compiler.

A process of its own is for what is settled before import, and for what may crash, hang or be killed.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import csoftmax

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]
CORE = ROOT / "csoftmax" / "core"
PATH = os.pathsep.join([str(Path(csoftmax.__file__).parents[1]), str(SUPPORT)])
"""Where a new process finds this csoftmax and what the tests share."""


def run_python(*arguments, timeout=60, cwd=None, **environment):
    """Run Python with variables of the environment set, or unset where None; return the completed process."""
    env = os.environ | {"PYTHONPATH": PATH} | environment
    return subprocess.run(
        [sys.executable, *arguments],
        env={name: value for name, value in env.items() if value is not None},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_function(function, *arguments, cpus=0, **options):
    """Call a function of a test module in a new process; what it raises, or a crash, fails the test.

    csoftmax there takes `cpus` for the number of CPUs, if it is given.
    """
    code = f"import csoftmax; csoftmax._csoftmax.assume_cpus({cpus}); "
    code += f"import {function.__module__} as module; module.{function.__name__}(*{arguments!r})"
    path = os.pathsep.join([PATH, str(Path(function.__code__.co_filename).parent)])
    done = run_python("-X", "faulthandler", "-c", code, PYTHONPATH=path, **options)
    assert done.returncode == 0, (
        f"{function.__name__}{arguments} ended with status {done.returncode}\n"
        f"last output: {done.stdout[-500:]}\n{done.stderr[-4000:]}"
    )


def counts_threads():
    """Whether the system tells how many threads a process has."""
    return Path("/proc/self/task").is_dir()


def threads_of_process():
    return len(os.listdir("/proc/self/task"))


def c_library(folder, *sources):
    """The path of a shared library of C sources, built in `folder`; without a compiler the test is skipped."""
    library = Path(folder) / "library.so"
    flags = ["-std=c11", "-O2", "-shared", "-fPIC", "-pthread"]
    subprocess.run([*c_compiler(), *flags, *sources, "-o", library], check=True)
    return str(library)


def sets_modes():
    """Whether modes.c is for this machine."""
    return platform.machine() in ("x86_64", "AMD64")


MODES = SUPPORT / "modes.c"
"""The floating-point modes of a thread."""


def c_compiler():
    """The command of the C compiler; without one the test is skipped."""
    command = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(command[0]) is None:
        pytest.skip(f"no C compiler: {command[0]}")
    return command
