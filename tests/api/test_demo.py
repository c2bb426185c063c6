"""The demo, `python -m csoftmax`: it runs on each instruction set, draws its bar, fails when it should."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import processes
import pytest

import csoftmax
from csoftmax import __main__ as demo

ROOT = Path(csoftmax.__file__).parents[1]


def test_demo_on_each_instruction_set(isa):
    run = processes.run_python("-m", "csoftmax", CSOFTMAX_ISA=isa)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    sections = ["What was built", "Softmax regression", "Gradients", "Time per call", "Checks"]
    found = [run.stdout.find(section) for section in sections]
    assert found[0] == 0
    assert found == sorted(found)
    assert f"instruction set  {isa} " in run.stdout
    assert "step 3000 of 3000" in run.stdout
    assert "\r" not in run.stdout
    assert "FAILED" not in run.stdout
    for shape in demo.SHAPES:
        assert run.stdout.count(f"  {shape} ") == 2


def test_bar_on_a_terminal():
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "csoftmax", "--seconds", "0"], cwd=ROOT, stdout=slave) as process:
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError:
            # Linux reports the closing of the other end as an error, not as the end of the file.
            pass
        finally:
            os.close(master)
    assert process.returncode == 0
    half, full = b"#" * (demo.BAR_WIDTH // 2), b"#" * demo.BAR_WIDTH
    assert b"\r  [" + half + b"." in shown
    assert b"\r  [" + full + b"]" in shown
    assert shown.count(b"\r  [") == 100


def test_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        demo.main(["--help"])
    assert stopped.value.code == 0
    assert "--seconds" in capsys.readouterr().out


def failed(out):
    return [line.removeprefix("  FAILED  ") for line in out.splitlines() if line.startswith("  FAILED")]


def test_nothing_fails_in_process(capsys):
    assert demo.main(["--seconds", "0"]) == 0
    assert failed(capsys.readouterr().out) == []


def doubled_softmax(x, out=None):
    return 2 * demo.numpy_softmax(x)


def gradient_a_millionth_off(logits, target, *, return_grad, out=None, honest=csoftmax.cross_entropy):
    loss, grad = honest(logits, target, return_grad=True)
    return loss, grad * (1 + 1e-6)


def zero_gradient(logits, target, *, return_grad, out=None):
    loss, grad = demo.numpy_cross_entropy(logits, target)
    return loss, np.zeros_like(grad)


def nan_gradient(logits, target, *, return_grad, out=None):
    loss, grad = demo.numpy_cross_entropy(logits, target)
    return loss, np.full_like(grad, np.nan)


def textbook_cross_entropy(logits, target, *, return_grad, out=None):
    return demo.numpy_cross_entropy(logits, target)


ACCURACY = "the accuracy on iris is at least 0.97"
ROW_SUMS = "the rows of softmax sum to 1"
DIFFERENCES = "the gradient agrees with finite differences"
MARGIN = "the target's gradient at margin 40 is not zero"


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("softmax", doubled_softmax, [ROW_SUMS]),
        ("cross_entropy", gradient_a_millionth_off, [DIFFERENCES]),
        ("cross_entropy", textbook_cross_entropy, [MARGIN]),
        ("cross_entropy", zero_gradient, [ACCURACY, DIFFERENCES, MARGIN]),
        ("cross_entropy", nan_gradient, [ACCURACY, ROW_SUMS, DIFFERENCES, MARGIN]),
    ],
)
def test_a_wrong_function_fails_the_demo(monkeypatch, capsys, name, wrong, expected):
    monkeypatch.setattr(csoftmax, name, wrong)
    assert demo.main(["--seconds", "0"]) == 1
    assert failed(capsys.readouterr().out) == expected
