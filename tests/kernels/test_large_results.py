"""Large results, written by non-temporal stores: they are as small ones are, and nothing beside them is written."""

import numpy as np
import pytest


@pytest.mark.parametrize("rows", [2**19, 2**19 + 3, 2**19 + 96])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_products_of_columns_are_those_of_rows(csm, dtype, rows):
    """Of one thread 6 MB and more are written past the caches, by whole vectors from the first aligned one on."""
    rng = np.random.default_rng(rows)
    p, g = csm.softmax(rng.normal(size=(6, rows)).astype(dtype), axis=0), rng.normal(size=(6, rows)).astype(dtype)
    for product in (csm.softmax_vjp, csm.softmax_jvp, csm.log_softmax_vjp, csm.log_softmax_jvp):
        out = np.full(6 * rows + 2, 7, dtype)
        product(p, g, axis=0, out=out[1:-1].reshape(6, rows))
        assert out[0] == out[-1] == 7
        expected = product(np.ascontiguousarray(p.T), np.ascontiguousarray(g.T))
        np.testing.assert_allclose(
            out[1:-1].reshape(6, rows).T, expected, rtol=0, atol=16 * np.finfo(dtype).eps * np.abs(g).max()
        )


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("n", [67, 128, 201])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_products_of_rows_are_those_of_few(csm, dtype, n, gap):
    """Past the caches, from 6 MB a thread on, a vector may hold the end of a row and the beginning of the next."""
    rng, rows = np.random.default_rng(n), 13 * 2**20 // (4 * n)
    p, g = csm.softmax(rng.normal(size=(rows, n)).astype(dtype)), rng.normal(size=(rows, n)).astype(dtype)
    for product in (csm.softmax_vjp, csm.softmax_jvp, csm.log_softmax_vjp, csm.log_softmax_jvp):
        out = np.full(rows * (n + gap) + 2, 7, dtype)
        square = out[1:-1].reshape(rows, n + gap)
        product(p, g, out=square[:, :n])
        assert out[0] == out[-1] == 7 and np.all(square[:, n:] == 7)
        for part in np.array_split(np.arange(rows), 16):
            np.testing.assert_array_equal(square[part, :n], product(p[part], g[part]))


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("n", [101, 128])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_jacobians_are_those_of_few(csm, dtype, n, gap):
    rows = 13 * 2**20 // (4 * n * n)
    p = csm.softmax(3 * np.random.default_rng(n).normal(size=(rows, n)).astype(dtype))
    out = np.full(rows * n * (n + gap) + 2, 7, dtype)
    square = out[1:-1].reshape(rows, n, n + gap)
    csm.softmax_jacobian(p, out=square[:, :, :n])
    assert out[0] == out[-1] == 7 and np.all(square[:, :, n:] == 7)
    for r in range(rows):
        np.testing.assert_array_equal(square[r, :, :n], csm.softmax_jacobian(p[r]))


@pytest.mark.parametrize("shape", [(1, 2700001), (41, 70001)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_rows_of_log_softmax_are_those_in_place(csm, dtype, shape):
    """In no cache a row is written past all of them, by aligned vectors; never in place."""
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    expected, before = x.copy(), csm.get_num_threads()
    csm.log_softmax(expected, out=expected)
    try:
        for threads in (1, before):
            csm.set_num_threads(threads)
            for begin in (0, 1, 13):
                out = np.full(x.size + 14, 7, dtype)
                y = out[begin : begin + x.size].reshape(shape)
                csm.log_softmax(x, out=y)
                np.testing.assert_array_equal(y, expected)
                assert np.all(out[:begin] == 7) and np.all(out[begin + x.size :] == 7)
    finally:
        csm.set_num_threads(before)
