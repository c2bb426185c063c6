"""Threads with a small stack: every operation, on every shape that has a kernel of its own, runs in 64 KiB."""

import threading

import numpy as np
import processes
import pytest

import csoftmax

SMALLEST = 64 * 1024
LENGTHS = (2, 3, 4, 10, 16, 33, 48, 49, 56, 57, 60, 80, 88, 100, 5000)
ROWS = 300
"""Enough for rows of up to 88 classes to be transposed."""


def calls_on(x, g):
    """Every operation on rows along axis 1; options that have a kernel of their own."""
    n, p = x.shape[1], csoftmax.softmax(g)
    soft, labels, each = np.abs(g), np.arange(len(x)) % n, np.linspace(1, 2, len(x))
    for name in ("softmax", "log_softmax", "logsumexp", "softmax_entropy"):
        for options in ({}, {"temperature": 0.7}, {"temperature": each}, {"where": g > 0}):
            if name != "logsumexp" or "temperature" not in options:
                getattr(csoftmax, name)(x, axis=1, **options)
    csoftmax.selective_log_softmax(x, labels)
    csoftmax.softmax(x.astype(np.float16), axis=1)
    options = (
        {},
        {"temperature": 0.7},
        {"temperature": each},
        {"label_smoothing": 0.1},
        {"weight": soft[0]},
        {"z_loss": 0.1},
        {"softcap": 3.0},
    )
    for target in (labels, soft):
        for option in options:
            csoftmax.cross_entropy(x, target, **option)
            csoftmax.cross_entropy(x, target, return_grad=True, **option)
        csoftmax.softmax_grad_hess(x, target)
    for name in ("softmax_vjp", "softmax_jvp", "log_softmax_vjp", "log_softmax_jvp"):
        for temperature in (1.0, 0.7):
            getattr(csoftmax, name)(p, g, temperature=temperature)
    if n <= 100:
        csoftmax.softmax_jacobian(p[: 30 + 2000 // n**2])


def check_small_stack(dtype):
    """On one thread: pieces that a worker takes do not lie on this stack."""
    csoftmax.set_num_threads(1)
    rng, failed = np.random.default_rng(0), []
    arrays = [rng.normal(size=(2, ROWS if n <= 100 else 20, n)).astype(dtype) for n in LENGTHS]

    def run():
        try:
            for x, g in arrays:
                print(x.shape, flush=True)
                calls_on(x, g)
                calls_on(np.asfortranarray(x), np.asfortranarray(g))
        except BaseException as error:
            failed.append(error)

    run()  # what is imported on the way takes a large stack
    threading.stack_size(SMALLEST)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_stack_is_enough(isa, dtype):
    processes.run_function(check_small_stack, dtype, CSOFTMAX_ISA=isa)
