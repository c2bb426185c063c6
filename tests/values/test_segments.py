"""Rows of various lengths, one after another: each as if it were alone, whatever is beside it."""

import itertools

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
import reference
from differences import gradient_by_differences
from differences import near as near_differences
from losses import near

DTYPES = ["float16", "bfloat16", "float32", "float64"]
EACH = {"segment_softmax": "softmax", "segment_log_softmax": "log_softmax"}


def segments(longest, count=200, least=0, seed=0):
    """Offsets of so many rows of up to `longest` classes, and logits."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], rng.integers(least, longest + 1, count).cumsum()])
    return offsets, rng.normal(scale=3, size=offsets[-1]), rng


def slices(offsets):
    return [slice(a, b) for a, b in itertools.pairwise(offsets)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("longest", [1, 5, 20, 300, 3000])
@pytest.mark.parametrize("name", EACH)
def test_bits_of_a_row_alone(csm, name, longest, dtype):
    offsets, x, rng = segments(longest, 60)
    x = x.astype(dtype)
    for temperature in (1.0, 0.5, rng.uniform(0.5, 2, 60)):
        result = getattr(csm, name)(x, offsets, temperature=temperature)
        assert result.dtype == dtype and result.shape == x.shape
        for i, row in enumerate(slices(offsets)):
            t = np.broadcast_to(temperature, 60)[i : i + 1] if np.ndim(temperature) else temperature
            alone = getattr(csm, EACH[name])(x[None, row], temperature=t)[0]
            np.testing.assert_array_equal(result[row], alone)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_segments(csm, dtype):
    offsets, x, _ = segments(80)
    x = x.astype(dtype)
    result = csm.segment_logsumexp(x, offsets)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.array([csm.logsumexp(x[row]) for row in slices(offsets)], dtype))
    wide = x.astype(float)
    expected = [reference.logsumexp((wide[row] / 0.5).tolist()) for row in slices(offsets)]
    near(csm.segment_logsumexp(x, offsets, temperature=0.5), expected, dtype, scale=10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_product_of_segments(csm, dtype):
    offsets, x, rng = segments(80)
    p, g = csm.segment_softmax(x.astype(dtype), offsets), rng.normal(size=x.size).astype(dtype)
    result = csm.segment_softmax_vjp(p, g, offsets)
    assert result.dtype == dtype
    for row in slices(offsets):
        np.testing.assert_array_equal(result[row], csm.softmax_vjp(p[None, row], g[None, row])[0])
    for first, second, out in ((p.copy(), g, 0), (p, g.copy(), 1)):
        own = (first, second)[out]
        assert csm.segment_softmax_vjp(first, second, offsets, out=own) is own
        np.testing.assert_array_equal(own, result)
    mixed = csm.segment_softmax_vjp(p, g.astype(float), offsets)
    assert mixed.dtype == np.float64
    assert csm.segment_softmax_vjp(np.ones(2, int), np.ones(2, int), [0, 2]).dtype == np.float64


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["positions", "probabilities"])
def test_loss_of_a_row_alone(csm, kind, dtype):
    offsets, x, rng = segments(90, least=1)
    x, rows = x.astype(dtype), slices(offsets)
    target = rng.integers(0, np.diff(offsets)) if kind == "positions" else rng.random(x.size).astype(dtype)
    losses, gradient = csm.segment_cross_entropy(x, target, offsets, reduction="none", return_grad=True)
    np.testing.assert_array_equal(csm.segment_cross_entropy(x, target, offsets, reduction="none"), losses)
    assert gradient.dtype == dtype and losses.shape == (len(rows),)
    assert losses.dtype == ("float64" if dtype == "float64" else "float32")
    for i, row in enumerate(rows):
        of_row = target[i : i + 1] if kind == "positions" else target[None, row]
        loss, grad = csm.cross_entropy(x[None, row], of_row, reduction="none", return_grad=True)
        np.testing.assert_array_equal(losses[i], loss[0])
        np.testing.assert_array_equal(gradient[row], grad[0])
    mean, of_mean = csm.segment_cross_entropy(x, target, offsets, return_grad=True)
    near(mean, losses.astype(float).mean(), dtype)
    near(of_mean, gradient.astype(float) / len(rows), dtype)
    near(csm.segment_cross_entropy(x, target, offsets, reduction="sum"), losses.astype(float).sum(), dtype)


@pytest.mark.parametrize("kind", ["positions", "probabilities"])
def test_sample_weights_of_segments(csm, kind):
    """A row of weight 0 is not read, though it counts in the mean."""
    offsets, x, rng = segments(30, least=1)
    target = rng.integers(0, np.diff(offsets)) if kind == "positions" else rng.random(x.size)
    plain, gradient = csm.segment_cross_entropy(x, target, offsets, reduction="none", return_grad=True)
    weight = rng.uniform(-1, 2, len(plain))
    weight[3] = 0
    x[slices(offsets)[3]] = np.nan
    result, weighted = csm.segment_cross_entropy(x, target, offsets, sample_weight=weight, return_grad=True)
    near(result, (np.where(weight == 0, 0, plain) * weight).sum() / len(plain))
    each = np.repeat(weight, np.diff(offsets))
    near(weighted, np.where(each == 0, 0, gradient) * each / len(plain))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["positions", "probabilities"])
def test_differences_of_segments(csm, kind, reduction):
    offsets, x, rng = segments(8, 6, least=1)
    target = rng.integers(0, np.diff(offsets)) if kind == "positions" else rng.random(x.size)
    options = {"sample_weight": rng.uniform(0.5, 2, 6), "reduction": reduction}
    _, gradient = csm.segment_cross_entropy(x, target, offsets, return_grad=True, **options)
    by_differences = gradient_by_differences(lambda v: csm.segment_cross_entropy(v, target, offsets, **options), x)
    near_differences(gradient, by_differences)
    parts = reference.segments(x.tolist(), offsets.tolist())
    of = target.tolist() if kind == "positions" else reference.segments(target.tolist(), offsets.tolist())
    weights = options["sample_weight"].tolist()
    losses = [
        reference.cross_entropy([a], [t], sample_weight=s, reduction="sum")[0]
        for a, t, s in zip(parts, of, weights, strict=True)
    ]
    total = reference.total(losses)
    near(csm.segment_cross_entropy(x, target, offsets, **options), total / (6 if reduction == "mean" else 1))


def test_empty_rows_and_nothing(csm):
    assert csm.segment_softmax([], [0]).shape == (0,)
    assert csm.segment_softmax([], [0, 0, 0]).shape == (0,)
    assert csm.segment_logsumexp([], [0, 0]).tolist() == [-np.inf]
    assert csm.segment_logsumexp([1.0], [0, 0, 1, 1]).tolist() == [-np.inf, 1, -np.inf]
    assert csm.segment_softmax([5.0], [0, 0, 1, 1]).tolist() == [1]
    assert csm.segment_cross_entropy([1.0], [1.0], [0, 0, 1, 1], reduction="none").tolist() == [0, 0, 0]
    assert csm.segment_cross_entropy([1.0, 1.0], [1.0, 0.0], [0, 0, 2]) == np.log(2) / 2
    assert csm.segment_cross_entropy([], np.zeros(0), [0, 0]) == 0
    assert np.isnan(csm.segment_cross_entropy([], np.zeros(0, int), [0]))
    assert csm.segment_softmax_vjp([], [], [0, 0]).shape == (0,)
    with pytest.raises(IndexError, match=r"target\[0\] = 0"):
        csm.segment_cross_entropy(np.zeros(0), [0], [0, 0])


def test_special_values_of_segments(csm):
    """As in a row alone; one bad row leaves the others as they are."""
    nan, inf = np.nan, np.inf
    x, offsets = np.array([0, 0, nan, 0, inf, 0, -inf, -inf, 0, -inf]), [0, 2, 4, 6, 8, 10]
    np.testing.assert_array_equal(csm.segment_softmax(x, offsets), [0.5, 0.5, nan, nan, nan, nan, nan, nan, 1, 0])
    np.testing.assert_array_equal(csm.segment_logsumexp(x, offsets), [np.log(2), nan, inf, -inf, 0])
    losses = csm.segment_cross_entropy(x, [0, 0, 0, 0, 1], offsets, reduction="none")
    np.testing.assert_array_equal(losses, [np.log(2), nan, nan, nan, inf])


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_and_outputs_of_segments(csm, dtype):
    """Strided, swapped, read-only and misaligned arrays; outputs of other dtypes and strides, in place, overlapping."""
    offsets, x, _ = segments(40)
    x = x.astype(dtype)
    expected = csm.segment_softmax(x, offsets)
    misaligned = np.frombuffer(b" " + x.tobytes(), np.uint8)[1:].view(x.dtype)
    for given in (np.repeat(x, 2)[::2], x[::-1].copy()[::-1], x.astype(x.dtype.newbyteorder()), misaligned):
        np.testing.assert_array_equal(csm.segment_softmax(given, offsets), expected)
    for kind in ("int8", "uint16", "int32", "uint64", ">i4"):
        few = np.array([0, 3, 50, len(x[:60])], kind)
        np.testing.assert_array_equal(csm.segment_softmax(x[:60], few), csm.segment_softmax(x[:60], few.tolist()))
    for out in (np.empty(x.size, dtype), np.empty(2 * x.size, dtype)[::2], np.empty(x.size, ">f8"), x.copy()):
        assert csm.segment_softmax(x, offsets, out=out) is out
        np.testing.assert_array_equal(out.astype(dtype), expected)
    own, shifted = x.copy(), np.concatenate([x, x[:1]])
    np.testing.assert_array_equal(csm.segment_softmax(own, offsets, out=own), expected)
    np.testing.assert_array_equal(csm.segment_softmax(shifted[:-1], offsets, out=shifted[1:]), expected)
    sums = np.empty(2 * (len(offsets) - 1), np.float32)[::2]
    assert csm.segment_logsumexp(x, offsets, out=sums) is sums
    near(sums, csm.segment_logsumexp(x, offsets), dtype if x.itemsize == 2 else "float32", scale=10)
    assert csm.segment_softmax([1, 1], [0, 2]).dtype == np.float64


@pytest.mark.parametrize(("longest", "count"), [(20, 60_000), (3000, 500), (200_000, 8)])
def test_threads_of_segments(csm, longest, count):
    """The same bits from any number of them."""
    offsets, x, rng = segments(longest, count, least=1)
    x, target = x.astype("f4"), rng.integers(0, np.diff(offsets))
    threads, results = csm.get_num_threads(), []
    try:
        for threads_now in (1, 2, 5):
            csm.set_num_threads(threads_now)
            csm._csoftmax.assume_cpus(threads_now)
            results.append([csm.segment_softmax(x, offsets), csm.segment_logsumexp(x, offsets)])
            results[-1] += csm.segment_cross_entropy(x, target, offsets, return_grad=True)
    finally:
        csm._csoftmax.assume_cpus(0)
        csm.set_num_threads(threads)
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_nothing_is_written_of_a_bad_call(csm):
    out = np.full(5, 7.25)
    for offsets, target in (([0, 2, 6], [0, 0]), ([0, 3, 2, 5], [0, 0, 0]), ([0, 2, 5], [0, 3])):
        with pytest.raises((ValueError, IndexError)):
            csm.segment_cross_entropy(np.zeros(5), target, offsets, return_grad=True, out=out)
    assert (out == 7.25).all()
