"""Arguments at the edge of what they mean: a normalizer of 0, one number as b, complex results, no classes."""

import sys
import warnings

import numpy as np
import processes
import pytest
from cases import HALVES
from test_threads import waiting_thread

import csoftmax

# A normalizer of 0

NONE_COUNTS = {
    "ignored labels": ({"target": np.array([-100, -100, -100])}, 3),
    "another index": ({"target": [7, 7, 7], "ignore_index": 7}, 3),
    "ignored floats": ({"target": np.array([-100.0] * 3)}, 3),
    "padded pairs": ({"target": (np.full((3, 2), -100), np.ones((3, 2)))}, 3),
    "pairs of no slots": ({"target": (np.zeros((3, 0), int), np.zeros((3, 0)))}, 3),
    "no rows": ({"target": np.zeros(0, int)}, 0),
    "no rows of probabilities": ({"target": np.zeros((0, 4))}, 0),
    "one row, broadcast": ({"target": [-100]}, 1),
}
ONE_COUNTS = {
    "labels": {"target": np.array([-100, 2, -100])},
    "nothing ignored": {"target": [0, 0, 0], "ignore_index": None},
    "probabilities": {"target": np.zeros((3, 4))},
    "pairs": {"target": (np.array([[-100, -100], [-100, 1], [-100, -100]]), np.zeros((3, 2)))},
    "pairs, nothing ignored": {"target": (np.zeros((3, 2), int), np.zeros((3, 2))), "ignore_index": None},
    "a row of weight 0": {"target": [0, -100, -100], "sample_weight": 0},
    "a label out of range": {"target": [9, -100, -100]},
}


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, np.float32(0), np.array(0)])
@pytest.mark.parametrize("case", NONE_COUNTS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_normalizer_of_nothing(case, zero, dtype):
    options, rows = NONE_COUNTS[case]
    x = np.full((rows, 4), np.nan, dtype)
    loss = csoftmax.cross_entropy(x, **options, normalizer=zero)
    assert loss == 0 and loss.dtype == dtype
    loss, grad = csoftmax.cross_entropy(x, **options, normalizer=zero, return_grad=True, out=x)
    assert loss == 0 and grad is x and not grad.any()


@pytest.mark.parametrize("case", ONE_COUNTS)
def test_normalizer_of_something(case):
    x = np.zeros((3, 4))
    out = np.full_like(x, 7.0)
    with pytest.raises(ValueError, match="normalizer must be finite and not 0"):
        csoftmax.cross_entropy(x, **ONE_COUNTS[case], normalizer=0, return_grad=True, out=out)
    assert (out == 7).all()


# One number as b

NUMBERS = [2.0, 2, 0.5, 1e-3, 1e300, np.float32(0.25), np.float64(3), np.array(0.75), np.float16(2), np.int8(5)]


@pytest.mark.parametrize("b", NUMBERS, ids=repr)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_one_number_is_an_array_of_it(csm, dtype, axis, keepdims, b):
    """Within 3 ULP of the largest of the terms, as the same number in an array, and of its dtype."""
    a = (30 * np.random.default_rng(0).standard_normal((5, 70))).astype(dtype)
    found, sign = csm.logsumexp(a, axis, b, keepdims, return_sign=True)
    kind = np.result_type(a.dtype, np.asarray(b).dtype) if isinstance(b, np.generic | np.ndarray) else a.dtype
    kind = kind if kind.kind == "f" else np.dtype("f8")
    expected = np.asarray(csm.logsumexp(a.astype("f8"), axis, np.full(a.shape, float(b)), keepdims))
    assert found.dtype == sign.dtype == kind and found.shape == sign.shape == expected.shape
    scale = np.maximum(np.abs(a).max(), max(np.log(a.size), abs(np.log(float(b)))))
    assert (np.abs(found - expected) <= 3 * np.spacing(kind.type(scale))).all()
    assert (sign == 1).all()
    out = np.full(expected.shape, 7, "f8")
    assert csm.logsumexp(a, axis, b, keepdims, out=out) is out
    np.testing.assert_array_equal(out, found)


@pytest.mark.parametrize("half", HALVES)
def test_one_number_of_halves(csm, half):
    pytest.importorskip("ml_dtypes")
    a = np.arange(12).reshape(3, 4).astype(half)
    found, sign = csm.logsumexp(a, 1, 0.25, return_sign=True)
    expected = (csm.logsumexp(a.astype("f8"), 1) + np.log(0.25)).astype(half)
    assert found.dtype == sign.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("a", "log", "sign"),
    [
        ([], -np.inf, 0.0), ([-np.inf], -np.inf, 0.0), ([np.inf, 1.0], np.inf, 1.0), ([np.nan], np.nan, np.nan),
        ([1000.0, 1000.0], 1000 + np.log(4), 1.0),
    ],
)
def test_one_number_at_the_limits(csm, a, log, sign):
    np.testing.assert_allclose(csm.logsumexp(a, b=2.0, return_sign=True), (log, sign), rtol=2**-51)


def test_one_number_with_a_mask(csm):
    a, where = np.arange(12.0).reshape(3, 4), np.array([[True, False, True, False], [False] * 4, [True] * 4])
    expected = csm.logsumexp(a, 1, np.full(a.shape, 0.5), where=where)
    np.testing.assert_allclose(csm.logsumexp(a, 1, 0.5, where=where), expected, rtol=1e-15)


# Signs, dtypes and warnings

OUTS = ["f4", "f8", ">f4", ">f8", "c8", "c16", "f2"]


@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize("b", [None, 2.0, [1.0, -3.0, 1.0, 1.0]])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "f2"])
def test_the_sign_has_the_dtype_of_the_result(dtype, b, out):
    a = np.array([[0.0, 1.0, np.nan, 2.0], [1.0, 2.0, 3.0, 4.0], [-np.inf] * 4], dtype)
    log, sign = csoftmax.logsumexp(a, 1, b, return_sign=True)
    given = np.empty(3, out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled, again = csoftmax.logsumexp(a, 1, b, return_sign=True, out=given)
    assert filled is given
    assert again.dtype == sign.dtype == log.dtype and again.dtype.isnative
    np.testing.assert_array_equal(again, sign)


def test_results_that_overflow_a_complex_out():
    x = np.array([[-1e300, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
    calls = [
        lambda out: csoftmax.log_softmax(x, out=out),
        lambda out: csoftmax.softmax_vjp(np.abs(x), x, out=out),
        lambda out: csoftmax.cross_entropy(x, [0, 0, 0], sample_weight=1e300, return_grad=True, out=out),
        lambda out: csoftmax.logsumexp(x, 1, keepdims=True, out=out[:, :1]),
        lambda out: csoftmax.logsumexp(x, 1, 1e300, True, out=out[:, :1]),
        lambda out: csoftmax.logsumexp(x, 1, np.full(2, -1e300), True, out=out[:, :1]),
        lambda out: csoftmax.softmax_grad_hess(x, [0, 0, 0], sample_weight=1e300, out=(out, np.empty(x.shape, "c8"))),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in calls:
            call(np.empty(x.shape, "c8"))


# Classes that are none


def test_entropy_of_no_classes(csm):
    np.testing.assert_array_equal(csm.softmax_entropy(np.zeros((2, 0))), np.zeros(2))


# The interpreter lock, and memory


def test_python_threads_run_while_many_labels_are_read():
    """The logits are few, their labels are many."""
    x, index = np.zeros((1, 10)), np.zeros((1, 20_000), np.uint8)
    calls = [
        lambda: csoftmax.selective_log_softmax(x, index),
        lambda: csoftmax.cross_entropy(x, (index, index)),
    ]
    for call in calls:
        progress = []
        with waiting_thread(lambda progress=progress: progress.append(True)) as start:
            start()
            assert not progress
            for _ in range(1000):
                call()
                if progress:
                    break
            ran = bool(progress)
        assert ran


def fail_allocations_while_a_label_error_is_worded():
    import _testcapi

    x, labels = np.zeros((3, 4)), np.array([0, 7, 1])
    for first in range(120):
        _testcapi.set_nomemory(first, first + 1)
        try:
            csoftmax.cross_entropy(x, labels)
        except (IndexError, MemoryError):
            pass
        finally:
            _testcapi.remove_mem_hooks()
    for _ in range(1000):       # a heap that is damaged shows here
        csoftmax.softmax([[1.0] * 50] * 20)


def test_allocations_that_fail_while_a_label_error_is_worded():
    pytest.importorskip("_testcapi")
    if sys.implementation.name != "cpython":
        pytest.skip("the hooks are CPython's")
    processes.run_function(fail_allocations_while_a_label_error_is_worded)
