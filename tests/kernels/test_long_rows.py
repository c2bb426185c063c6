"""Long rows that threads share: the same bits from any number of threads."""

import numpy as np
import pytest


def of_any_number_of_threads(csm, call):
    """What a call gives on one thread, if it gives the same bits on two."""
    found, before = [], csm.get_num_threads()
    try:
        for threads in (1, 2):
            csm.set_num_threads(threads)
            found.append(call())
    finally:
        csm.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    return found[0]


@pytest.mark.parametrize("rows", [1, 2])
def test_weighted_sums_of_long_rows(csm, rows):
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal((rows, 400_000)).astype(np.float32) for _ in range(2))
    b[-1, 3] = 3e38
    log, sign = of_any_number_of_threads(csm, lambda: csm.logsumexp(a, -1, b, return_sign=True))
    s = (b * np.exp(a.astype(np.float64))).sum(axis=1)
    np.testing.assert_allclose(log, np.log(abs(s)), rtol=1e-5)
    np.testing.assert_array_equal(sign, np.sign(s))


def test_entropy_of_a_long_row(csm):
    x = np.random.default_rng(0).normal(scale=2.0, size=(1, 300_000)).astype(np.float32)
    of_any_number_of_threads(csm, lambda: csm.softmax_entropy(x, return_grad=True))


def test_focal_loss_of_a_long_row(csm):
    x = np.random.default_rng(3).normal(size=3_000_000).astype(np.float32)
    x[7] = 40
    options = {"focal_gamma": 2, "return_grad": True}
    loss, gradient = of_any_number_of_threads(csm, lambda: csm.cross_entropy(x, 7, **options))
    assert loss > 0
    alone = csm.cross_entropy(x.astype(float), 7, **options)
    np.testing.assert_allclose(loss, alone[0], 1e-5)
    np.testing.assert_allclose(gradient, alone[1], 1e-5, 1e-45)
