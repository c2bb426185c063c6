"""What compilers may be asked to do: builds that would compute other numbers are refused."""

import subprocess

import processes
import pytest


def compile_scalar(*flags):
    command = [*processes.c_compiler(), "-std=c11", *flags, "-fsyntax-only", processes.CORE / "isa" / "scalar_f32.c"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_ordinary_build_is_not_refused():
    done = compile_scalar()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-ffinite-math-only"])
def test_fast_math_is_refused(flag):
    done = compile_scalar(flag)
    assert done.returncode != 0
    assert "csoftmax: compile without -ffast-math" in done.stderr


@pytest.mark.skipif(not processes.sets_modes(), reason="asks for the x87 of x86-64")
def test_x87_is_refused():
    done = compile_scalar("-mfpmath=387")
    if "'387' unit is not supported" in done.stderr:
        pytest.skip("clang computes by x87 only where there is nothing else")
    assert done.returncode != 0
    assert "csoftmax: float and double must be computed as such" in done.stderr
