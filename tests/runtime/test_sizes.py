"""Sizes at both ends: arrays of which no memory holds a copy, rows without classes, sums beyond the largest number.

What may crash or never end runs in a process of its own.
"""

import numpy as np
import processes
import pytest

import csoftmax

MANY = 2**61
"""Rows, or classes, of views that take no memory; what is kept for each takes 2^64 bytes and more."""


def same(value, *shape):
    """A view of one value as an array of any shape."""
    return np.broadcast_to(value, shape)


BYTE, ZERO, HALF, TRUE = np.int8(0), np.float64(0), np.float16(0), np.bool_(True)
ROWS = same(BYTE, MANY, 1)
"""Many rows of one class."""

TOO_LARGE = {
    "labels": lambda: csoftmax.cross_entropy(ROWS, same(BYTE, MANY)),
    "labels, no reduction": lambda: csoftmax.cross_entropy(ROWS, same(BYTE, MANY), reduction="none"),
    "labels, float16": lambda: csoftmax.cross_entropy(same(HALF, MANY, 1), same(BYTE, MANY)),
    "labels, smoothed": lambda: csoftmax.cross_entropy(ROWS, same(BYTE, MANY), label_smoothing=0.1),
    "labels, columns": lambda: csoftmax.cross_entropy(same(BYTE, 1, MANY), same(BYTE, MANY), axis=0),
    "soft targets": lambda: csoftmax.cross_entropy(ROWS, ROWS),
    "slots": lambda: csoftmax.selective_log_softmax(same(BYTE, 2**40, 2), same(BYTE, 2**40, 2**21)),
    "slots of a row": lambda: csoftmax.selective_log_softmax(np.zeros((1, 3)), same(BYTE, 1, MANY)),
    "logsumexp of three rows": lambda: csoftmax.logsumexp(same(BYTE, 3, MANY), axis=1),
    "logsumexp of a row": lambda: csoftmax.logsumexp(same(BYTE, MANY)),
    "logsumexp of a row, two axes": lambda: csoftmax.logsumexp(same(BYTE, 2**30, 2**31), axis=None),
    "logsumexp of a longest row": lambda: csoftmax.logsumexp(same(BYTE, 2**63 - 1)),
    "logsumexp of masked classes": lambda: csoftmax.logsumexp(same(BYTE, MANY), where=same(TRUE, MANY)),
    "logsumexp of columns": lambda: csoftmax.logsumexp(same(BYTE, MANY, 3), axis=0),
    "entropy": lambda: csoftmax.softmax_entropy(same(BYTE, 3, MANY)),
    "entropy, float16": lambda: csoftmax.softmax_entropy(same(HALF, 3, 2**61)),
    "one label of many": lambda: csoftmax.cross_entropy(same(BYTE, 3, MANY), np.zeros(3, int)),
    "selective": lambda: csoftmax.selective_log_softmax(same(BYTE, 3, MANY), np.zeros(3, int)),
    "capped": lambda: csoftmax.cross_entropy(same(BYTE, 3, MANY), np.zeros(3, int), softcap=3.0),
}


def check_too_large():
    for threads in (csoftmax.get_num_threads(), 1):
        csoftmax.set_num_threads(threads)
        for name, call in TOO_LARGE.items():
            print(name, threads, flush=True)
            with pytest.raises((MemoryError, ValueError)):
                call()


def test_what_no_memory_holds_is_refused(isa):
    processes.run_function(check_too_large, CSOFTMAX_ISA=isa)


# Without elements

ENDLESS = same(ZERO, 2**40, 0)
MASK = same(TRUE, 2**40, 0)

NOTHING = {
    "softmax": lambda: csoftmax.softmax(ENDLESS),
    "softmax of columns": lambda: csoftmax.softmax(ENDLESS.T, axis=0),
    "softmax, rows of three axes": lambda: csoftmax.softmax(same(ZERO, 2**20, 2**20, 0)),
    "softmax, float16": lambda: csoftmax.softmax(same(HALF, 2**40, 0)),
    "softmax, masked": lambda: csoftmax.softmax(ENDLESS, where=MASK),
    "softmax, a temperature per row": lambda: csoftmax.softmax(ENDLESS, temperature=np.full(1, 2.0)),
    "log_softmax": lambda: csoftmax.log_softmax(ENDLESS),
    "log_softmax, masked": lambda: csoftmax.log_softmax(ENDLESS, where=MASK),
    "softmax_jacobian": lambda: csoftmax.softmax_jacobian(ENDLESS),
    "softmax_vjp": lambda: csoftmax.softmax_vjp(ENDLESS, ENDLESS),
    "softmax_jvp": lambda: csoftmax.softmax_jvp(ENDLESS, ENDLESS),
    "log_softmax_vjp": lambda: csoftmax.log_softmax_vjp(ENDLESS, ENDLESS),
    "log_softmax_jvp": lambda: csoftmax.log_softmax_jvp(ENDLESS, ENDLESS),
    "no rows of many classes": lambda: csoftmax.softmax(same(ZERO, 0, 2**40)),
}


def check_nothing(name):
    assert NOTHING[name]().size == 0


@pytest.mark.parametrize("name", NOTHING)
def test_rows_without_classes_take_no_time(name):
    """They took hours."""
    processes.run_function(check_nothing, name, timeout=60)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f4"])
@pytest.mark.parametrize("shape", [(3, 0), (5, 3, 0), (1, 0)])
def test_results_of_rows_without_classes(csm, dtype, shape):
    """Also where results are not adjacent, and whatever was there before."""
    x = np.empty(shape, dtype)
    for function, value in ((csm.logsumexp, -np.inf), (csm.softmax_entropy, 0.0)):
        np.testing.assert_array_equal(function(x, axis=-1), np.full(shape[:-1], value))
        out = np.full((*shape[:-1], 2), np.nan, dtype)[..., 0]
        function(x, axis=-1, out=out)
        np.testing.assert_array_equal(out, value)
        where = np.empty(shape, bool)
        np.testing.assert_array_equal(function(x, axis=-1, where=where), np.full(shape[:-1], value))


# Means whose sum is beyond the largest number


@pytest.mark.parametrize("rows", [2, 63, 1000, 36_004])
def test_a_mean_is_finite_where_the_sum_is_not(csm, rows):
    x = np.zeros((rows, 2))
    x[:, 1] = np.linspace(0.5, 1.0, rows) * 1.7e308
    losses = csm.cross_entropy(x, np.zeros(rows, int), reduction="none")
    assert np.isfinite(losses).all()
    mean = csm.cross_entropy(x, np.zeros(rows, int))
    np.testing.assert_allclose(mean, 0.75 * 1.7e308, rtol=1e-12)
    assert csm.cross_entropy(x, np.zeros(rows, int), reduction="sum") == np.inf
    np.testing.assert_allclose(
        csm.cross_entropy(x, np.zeros(rows, int), normalizer=4.0 * rows), 0.75 * 1.7e308 / 4, rtol=1e-12
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("worst", [np.inf, np.nan])
def test_a_mean_of_infinite_losses_is_as_it_was(csm, dtype, worst):
    x = np.zeros((100, 3), dtype)
    x[50, 0] = -np.inf if worst == np.inf else np.nan
    np.testing.assert_array_equal(csm.cross_entropy(x, np.zeros(100, int)), worst)


# Nothing of an infinite weight


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight", [np.inf, 1e308])
def test_a_label_of_no_probability_counts_nothing(csm, dtype, weight):
    """Whatever its class weighs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 5)).astype(dtype)
    labels = np.tile([1, 3], (50, 1))
    prob = np.tile([1.0, 0.0], (50, 1))
    options = {"reduction": "none", "return_grad": True}
    heavy = np.array([1.0, 2.0, 1.0, weight, 1.0])
    expected = csm.cross_entropy(x, (labels[:, :1], prob[:, :1]), weight=[1, 2, 1, 1, 1], **options)
    for order in (slice(None), slice(None, None, -1)):
        result = csm.cross_entropy(x, (labels[:, order], prob[:, order]), weight=heavy, **options)
        for a, b in zip(result, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12)


def test_nothing_is_left_of_a_smoothed_label(csm):
    """The class of infinite weight lies below the largest, and label_smoothing=1 leaves no label."""
    loss = csm.cross_entropy(
        np.array([[3.0, 0.0, 1.0]]), [1], weight=[1, np.inf, 1], label_smoothing=1.0, reduction="sum"
    )
    assert loss == np.inf
