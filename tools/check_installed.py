"""Whether the csoftmax that is installed computes, with NumPy and nothing else, and leaves the interpreter lock off.

python tools/check_installed.py [pthreads|windows|none]

The argument is the kind of threads it must have; without it, it must have some.
"""

import sys
import sysconfig
from pathlib import Path

import numpy as np

import csoftmax

ROOT = Path(__file__).resolve().parents[1]


def check(threading=None):
    """Exit with a message if the package is that of the checkout, has other threads, or is wrong."""
    if Path(csoftmax.__file__).is_relative_to(ROOT):
        sys.exit(f"not installed, but imported from the checkout: {csoftmax.__file__}")
    config = csoftmax.show_config(mode="dicts")
    if config["threading"] != threading if threading else config["threading"] == "none":
        sys.exit(f"not the threads that it must have: {config}")
    if sysconfig.get_config_var("Py_GIL_DISABLED") and sys._is_gil_enabled():
        sys.exit("its import turns the interpreter lock on")
    x = np.random.default_rng(0).normal(size=(500, 1000))
    labels, p = np.arange(500), np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    loss, gradient = csoftmax.cross_entropy(x, labels, return_grad=True)
    np.testing.assert_allclose(csoftmax.softmax(x), p, rtol=1e-13)
    np.testing.assert_allclose(loss, -np.log(p[labels, labels]).mean(), rtol=1e-13)
    np.testing.assert_allclose(gradient, (p - np.eye(500, 1000)) / 500, rtol=1e-10, atol=1e-18)
    print(f"csoftmax {config['version']} on {config['isa']}, threads: {config['threading']}, NumPy {config['numpy']}")


if __name__ == "__main__":
    check(*sys.argv[1:])
