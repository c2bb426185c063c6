"""Rows that are staged in scratch memory, more of them than it holds at a time: masks, soft caps, layouts."""

import numpy as np
import pytest
from differences import same
from layouts import LAYOUTS
from maps import EMPTY, FILL, MAPS, every_function, logits, mask, poisoned

large = pytest.mark.parametrize(
    ("shape", "axis"),
    [((700, 10), 1), ((10, 700), 0), ((90, 1000), 1), ((1000, 90), 0), ((3, 20000), 1), ((7, 30, 110), 1)],
    ids=str,
)
"""Many rows or long ones, as rows and as columns."""


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


every_layout = pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "misaligned"])
CALLS = {
    "softmax": lambda csm, x, g, axis, y: csm.softmax(x, axis, out=y),
    "softmax_vjp": lambda csm, x, g, axis, y: csm.softmax_vjp(g, x, axis, out=y),
    "cross_entropy": lambda csm, x, g, axis, y: csm.cross_entropy(x, g, axis, return_grad=True, out=y)[1],
}


@every_layout
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@large
def test_layouts_of_many_rows(csm, shape, axis, dtype, call, layout):
    """One array after another in another layout than the rest, the result among them.

    Products with Jacobians are right to some ULP of their largest term, and that is a logit's size here.
    """
    x, g = logits(*shape, dtype=dtype), csm.softmax(2 * logits(*shape), axis).astype(dtype)
    expected = CALLS[call](csm, x, g, axis, None)
    eps = np.finfo(dtype).eps
    for i in range(3):
        arrays = [x, g, np.zeros_like(x)]
        arrays[i] = LAYOUTS[layout](arrays[i])
        result = CALLS[call](csm, arrays[0], arrays[1], axis, arrays[2])
        assert result is arrays[2]
        np.testing.assert_allclose(result, expected, rtol=8 * eps, atol=8 * eps * np.abs(x).max())


@every_layout
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3000, 10), (3, 5, 70), (100, 130), (4, 400), (2, 1100), (7, 1)], ids=str)
def test_jacobians_into_any_layout(csm, shape, dtype, layout):
    p = csm.softmax(logits(*shape)).astype(dtype)
    expected = csm.softmax_jacobian(p)
    for order in [(0, 1, 2), (0, 2, 1), (1, 2, 0), (2, 0, 1)]:
        inner = np.zeros((*p.shape[:-2], *[expected.shape[-3:][i] for i in order]), dtype)
        out = np.moveaxis(LAYOUTS[layout](inner), (-3, -2, -1), [k - 3 for k in order])
        assert csm.softmax_jacobian(p, out=out) is out
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(csm.softmax_jacobian(LAYOUTS[layout](p), out=out), expected)


@pytest.mark.parametrize("shape", [(700, 10), (90, 1000)], ids=str)
def test_masks_that_broadcast(csm, shape):
    """A mask of classes, of rows, of one number, as the whole mask."""
    x, rng = logits(*shape), np.random.default_rng(0)
    for where in (rng.random((1, shape[1])) < 0.5, rng.random((shape[0], 1)) < 0.5, np.array([[True]])):
        for a in (x, np.asfortranarray(x)):
            for function in (csm.softmax, csm.logsumexp, csm.softmax_entropy):
                whole = np.broadcast_to(where, shape).copy()
                np.testing.assert_array_equal(function(a, -1, where=where), function(a, -1, where=whole))
