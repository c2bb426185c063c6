"""Rows that go through scratch, more of them than it holds at a time: masks and soft caps."""

import numpy as np
import pytest
from test_gradients import same
from test_masks import EMPTY, FILL, MAPS, every_function, logits, mask, poisoned

large = pytest.mark.parametrize(("shape", "axis"), [((700, 10), 1), ((10, 700), 0), ((90, 1000), 1), ((1000, 90), 0),
                                                    ((3, 20000), 1), ((7, 30, 110), 1)], ids=str)
"""Many rows or long ones, along and across."""


@every_function
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@large
def test_masks_of_many_rows(csm, shape, axis, dtype, name):
    """As logits of -inf, bit for bit, but for rows with a NaN or without classes."""
    x, where = logits(*shape, dtype=dtype), mask(*shape)
    rows = tuple(n for i, n in enumerate(shape) if i != axis)
    first, last = (0,) * len(rows), tuple(n - 1 for n in rows)
    np.moveaxis(where, axis, -1)[last] = False
    np.moveaxis(x, axis, -1)[first] = np.nan
    np.moveaxis(where, axis, -1)[first][0] = True
    result = getattr(csm, name)(poisoned(x, where), axis, where=where)
    expected = getattr(csm, name)(np.where(where, x, np.array(-np.inf, dtype)), axis)
    if name in MAPS:
        for row, fill in ((first, np.nan), (last, FILL[name])):
            np.moveaxis(expected, axis, -1)[row] = np.where(np.moveaxis(where, axis, -1)[row], fill, FILL[name])
    else:
        expected[first], expected[last] = np.nan, EMPTY[name]
    np.testing.assert_array_equal(result, expected)
    strided = np.repeat(where, 2, axis=-1)[..., ::2]
    np.testing.assert_array_equal(getattr(csm, name)(poisoned(x, where), axis, where=strided), expected)


@large
def test_softcap_of_many_rows(csm, shape, axis):
    """As the loss of capped logits, its gradient times the slope."""
    rng = np.random.default_rng(0)
    x = rng.normal(scale=4.0, size=shape)
    labels = rng.integers(0, shape[axis], [n for i, n in enumerate(shape) if i != axis])
    options = {"axis": axis, "reduction": "sum", "return_grad": True}
    loss, gradient = csm.cross_entropy(x, labels, softcap=3.0, **options)
    capped_loss, capped_gradient = csm.cross_entropy(3 * np.tanh(x / 3), labels, **options)
    same(loss, capped_loss, loss)
    same(gradient, capped_gradient / np.cosh(x / 3) ** 2, 10.0)
