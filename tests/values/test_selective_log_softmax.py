"""selective_log_softmax: the log-probabilities of chosen classes, under every option that it takes."""

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
from differences import same
from losses import near, poisoned

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
LABELS = (*INTEGERS, "float32", "float64", ">i4", ">f8")


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8"])
def test_selected(csm, dtype, axis):
    rng = np.random.default_rng(7)
    x = rng.normal(scale=4, size=(4, 6, 5)).astype(dtype)
    n, rows = x.shape[axis], tuple(np.delete(x.shape, axis))
    log_p = np.moveaxis(csm.log_softmax(x, axis, temperature=0.5), axis, -1)
    tolerance = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 1e-6}.get(dtype, 2e-15)
    one, several = rng.integers(0, n, rows), rng.integers(0, n, (*rows, 3))
    for label_dtype in LABELS:
        picked = csm.selective_log_softmax(x, one.astype(label_dtype), axis, temperature=0.5)
        assert picked.dtype == log_p.dtype and picked.shape == rows
        expected = np.take_along_axis(log_p, one[..., None], -1)[..., 0]
        np.testing.assert_allclose(picked.astype("f8"), expected.astype("f8"), rtol=tolerance)
    picked = csm.selective_log_softmax(x, several, axis, temperature=0.5)
    expected = np.take_along_axis(log_p, several, -1)
    np.testing.assert_allclose(picked.astype("f8"), expected.astype("f8"), rtol=tolerance)
    out = np.empty((*rows, 3), np.float32)
    assert csm.selective_log_softmax(x, several, axis, temperature=np.full(rows, 0.5), out=out) is out
    np.testing.assert_allclose(out, expected.astype("f4"), rtol=max(tolerance, 1e-6), atol=2.0**-24)
    assert csm.selective_log_softmax(x, several[..., :0], axis).shape == (*rows, 0)


def test_selected_of_one_row(csm):
    assert csm.selective_log_softmax([1.0, 1.0], 0) == -np.log(2)
    assert csm.selective_log_softmax(np.zeros(2, np.float32), 1).dtype == np.float32
    same(csm.selective_log_softmax([1.0, 1.0], [0, 1, 1]), np.full(3, -np.log(2)))
    assert csm.selective_log_softmax(np.zeros(2, np.float32), 1, dtype=np.float64) == -np.log(2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_options_of_selected_classes(csm, dtype):
    """All its options, against log_softmax; rows that are ignored may hold NaN."""
    rng = np.random.default_rng(3)
    for n in (1, 3, 20, 100, 3000):
        x, where = rng.normal(scale=3, size=(9, n)).astype(dtype), rng.random((9, n)) < 0.7
        where[:, 0] = True
        for shape in ((9,), (9, 1), (9, 3)):
            index = rng.integers(0, n, shape)
            for axis in (-1, 0):
                for softcap in (None, 5.0):
                    u = x.astype(float) if softcap is None else softcap * np.tanh(x.astype(float) / softcap)
                    log_p = csm.log_softmax(u, where=where, temperature=0.5)
                    expected = np.take_along_axis(log_p, index.reshape(9, -1), 1).reshape(shape)
                    options = {"softcap": softcap, "temperature": 0.5, "ignore_index": 1}
                    given = poisoned(x, where), where
                    given = given if axis else (given[0].T, given[1].T)
                    found = csm.selective_log_softmax(given[0], index, axis, where=given[1], **options)
                    assert found.dtype == dtype
                    near(found, np.where(index == 1, 0, expected), dtype, scale=40)


@pytest.mark.parametrize("ignore_index", [-100, 7, 2, 2**63, np.int64(-100)])
def test_selective_ignores(csm, ignore_index):
    dtype = np.uint64 if ignore_index == 2**63 else np.int64
    index = np.array([[0, ignore_index], [ignore_index, 1], [ignore_index, ignore_index]], dtype)
    x = np.array([[1.0, 2, 3], [0, 0, 1], [np.nan, np.inf, 0]])
    found = csm.selective_log_softmax(x, index, ignore_index=ignore_index)
    log_p = csm.log_softmax(x)
    np.testing.assert_array_equal(found, [[log_p[0, 0], 0], [0, log_p[1, 1]], [0, 0]])
    np.testing.assert_array_equal(
        csm.selective_log_softmax(x, index[:, 0], ignore_index=ignore_index), [log_p[0, 0], 0, 0]
    )
    assert csm.selective_log_softmax(x[2], ignore_index, ignore_index=ignore_index) == 0
    assert np.isnan(csm.selective_log_softmax(x[2], 1, ignore_index=ignore_index))
    if ignore_index != 2:
        with pytest.raises(IndexError, match=r"index\[0, 1\]"):
            csm.selective_log_softmax(x, index)


def test_selective_outside(csm):
    """Minus infinity, as log_softmax there, and where nothing takes part; 0 of what is ignored."""
    where = np.array([[True, False], [False, False]])
    x = np.array([[1.0, np.nan], [np.nan, 2.0]])
    index = np.array([[0, 1, -1], [0, 1, -1]])
    found = csm.selective_log_softmax(x, index, where=where, ignore_index=-1)
    np.testing.assert_array_equal(found, [[0, -np.inf, 0], [-np.inf, -np.inf, 0]])
    np.testing.assert_array_equal(csm.selective_log_softmax(x, [1, 0], where=where), [-np.inf, -np.inf])
    np.testing.assert_array_equal(csm.selective_log_softmax(x, [1, -1], where=where, ignore_index=-1), [-np.inf, 0])
