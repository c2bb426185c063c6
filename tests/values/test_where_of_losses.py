"""`where=` of the losses: which classes take part, row by row."""

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
from losses import OPTIONS, by_reference, near, options_of, poisoned

DTYPES = ["float16", "bfloat16", "float32", "float64"]
SENTINEL = 7.25
KINDS = ["index", "probabilities", "sparse"]

every_kind = pytest.mark.parametrize("kind", KINDS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_hidden = pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf, 1e30, -1e30])


def problem(kind, n, rows=7, dtype="float64"):
    """Logits, a mask that leaves each row a class, and targets within it; the last row has no target."""
    rng = np.random.default_rng(n)
    x = rng.normal(scale=3.0, size=(rows, n)).astype(dtype)
    where = rng.random((rows, n)) < 0.6
    where[np.arange(rows), rng.integers(0, n, rows)] = True
    labels = np.array([rng.choice(np.flatnonzero(row)) for row in where])
    labels[-1] = -100
    if kind == "index":
        return x, where, labels
    if kind == "probabilities":
        return x, where, np.where(where, rng.normal(size=(rows, n)), 0).astype(dtype)
    index = np.stack([labels, [rng.choice(np.flatnonzero(row)) for row in where], labels], axis=1)
    index[-1], index[1, 1] = -100, -100
    return x, where, (index, rng.normal(size=(rows, 3)))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", ["none", *OPTIONS, "all smoothing", "all"])
@every_kind
def test_losses_under_a_mask(csm, kind, name, reduction):
    for n in (1, 2, 3, 10, 70):
        x, where, target = problem(kind, n)
        options = {"label_smoothing": 1.0} if name == "all smoothing" else options_of(name, x.shape)
        options["reduction"] = reduction
        loss, gradient = by_reference(x, target, where=where, **options)
        for axis in (-1, 0):
            hidden, mask = (a if axis else np.ascontiguousarray(a.T) for a in (poisoned(x, where), where))
            given = target.T if kind == "probabilities" and axis == 0 else target
            found, slopes = csm.cross_entropy(hidden, given, axis, where=mask, return_grad=True, **options)
            near(found, loss, scale=100 * n)
            slopes = slopes.T if axis == 0 else slopes
            near(slopes, gradient, scale=100)
            np.testing.assert_array_equal(slopes[~where], 0)
            without = csm.cross_entropy(hidden, given, axis, where=mask, **options)
            np.testing.assert_array_equal(without, found)


@every_dtype
@every_kind
def test_a_masked_loss_is_that_of_the_compressed_row(csm, kind, dtype):
    """Each row is that of the classes that take part alone, smoothing included, whatever the length."""
    for n in (3, 16, 33, 100, 5000, 40000):
        x, where, target = problem(kind, n, rows=4, dtype=dtype)
        options = {"reduction": "none", "return_grad": True, "label_smoothing": 0.125, "softcap": 20.0}
        loss, gradient = csm.cross_entropy(poisoned(x, where), target, where=where, **options)
        for i, kept in enumerate(where):
            if kind == "probabilities":
                part = target[i][kept]
            elif kind == "index":
                part = np.array(-100 if target[i] < 0 else kept[: target[i]].sum())
            else:
                part = np.array([v if v < 0 else kept[:v].sum() for v in target[0][i]]), target[1][i]
            alone, slopes = csm.cross_entropy(x[i][kept], part, **options)
            near(loss[i], alone, "float32" if x.dtype.itemsize == 2 else dtype, scale=n)
            near(gradient[i][kept], slopes, dtype, scale=10)
            np.testing.assert_array_equal(gradient[i][~kept].astype(float), 0)


@every_hidden
@every_kind
@pytest.mark.parametrize("name", ["none", "all"])
def test_nothing_leaks_into_a_loss(csm, kind, name, hidden):
    for dtype in ("float32", "float64"):
        for n in (3, 40, 200):
            x, where, target = problem(kind, n, dtype=dtype)
            options = options_of(name, x.shape) | {"where": where, "return_grad": True}
            for axis in (-1, 0):
                if axis == 0:
                    x, where, options["where"] = np.ascontiguousarray(x.T), where.T, where.T
                    target = target.T if kind == "probabilities" else target
                expected = csm.cross_entropy(poisoned(x, where, 0), target, axis, **options)
                found = csm.cross_entropy(poisoned(x, where, hidden), target, axis, **options)
                np.testing.assert_array_equal(found[0], expected[0])
                np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.25}, {"softcap": 3.0}, {"temperature": 2.0}], ids=str)
def test_a_target_outside_is_infinite(csm, options):
    x, where = np.array([[1.0, 2.0, 3.0], [0.5, 0.25, 0.0]]), np.array([[True, False, True], [True, True, False]])
    for target in (
        np.array([1, 0]),
        np.array([[0, 0.5, 0.5], [1, 0, 0]]),
        (np.array([[1, 0], [0, 1]]), np.ones((2, 2))),
    ):
        loss, gradient = csm.cross_entropy(x, target, where=where, reduction="none", return_grad=True, **options)
        assert loss[0] == np.inf and np.isfinite(loss[1])
        assert np.isfinite(gradient).all() and (gradient[~where] == 0).all() and (gradient[where] != 0).all()
    nothing = np.array([[0.5, 0, 0.5], [1, 0, 0]])
    assert np.isfinite(csm.cross_entropy(x, nothing, where=where, **options))
    assert np.isfinite(csm.cross_entropy(x, [1, 0], where=where, sample_weight=[0, 1], reduction="sum", **options))


@pytest.mark.parametrize("axis", [-1, 0])
@every_dtype
def test_losses_of_rows_without_classes(csm, dtype, axis):
    """Their target is outside: inf, with the sign of what it counts; 0 where nothing does, or the row is ignored."""
    least = "float64" if dtype == "float64" else "float32"
    n, where = 5, np.zeros((7, 5), bool)
    where[0] = True
    x = np.full((7, n), np.nan, dtype)
    x[0] = 0
    x, where = (x, where) if axis else (x.T.copy(), where.T.copy())
    options = {"where": where, "reduction": "none", "return_grad": True}
    s = np.array([1, 1, -2, 0, 1, 1, 1.0])
    for more in ({}, {"label_smoothing": 0.1}, {"softcap": 5.0}):
        loss, gradient = csm.cross_entropy(x, [0, 1, 2, 3, -100, 4, 4], axis, sample_weight=s, **options, **more)
        near(loss, [np.log(n), np.inf, -np.inf, 0, 0, np.inf, np.inf], least)
        np.testing.assert_array_equal(gradient[~where].astype(float), 0)
    weight = [1, 1, 1, 1, 0]
    loss, _ = csm.cross_entropy(x, [0, 1, 2, 3, -100, 4, 4], axis, sample_weight=s, weight=weight, **options)
    near(loss, [np.log(n), np.inf, -np.inf, 0, 0, 0, 0], least)
    soft = np.zeros((7, n))
    soft[:2, 0], soft[2, 0], soft[5, 4] = 1, -1, 1
    soft = soft if axis else soft.T
    loss, gradient = csm.cross_entropy(x, soft, axis, weight=weight, **options)
    near(loss, [np.log(n), np.inf, -np.inf, 0, 0, 0, 0], least)
    np.testing.assert_array_equal(gradient[~where].astype(float), 0)
    pair = np.array([[0, 1], [0, 1], [-100, -100], [1, 1], [1, 4], [4, 4], [2, -100]])
    prob = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 1], [1, 1], [-1, 0]])
    loss, _ = csm.cross_entropy(x, (pair, prob), axis, weight=weight, **options)
    near(loss, [np.log(n), np.inf, 0, 0, np.inf, 0, -np.inf], least)
    assert csm.cross_entropy(x, [1] * 7, axis, where=where) == np.inf
    assert csm.cross_entropy(x, soft * 0, axis, where=where, z_loss=0.5) == np.inf


@pytest.mark.parametrize("shape", [(), (4,), (1,), (5, 1), (5, 4), (3, 1, 1), (3, 1, 4), (1, 5, 1), (3, 5, 4)], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_where_of_a_loss_broadcasts(csm, shape, smoothing):
    rng = np.random.default_rng(0)
    x, where = rng.normal(size=(3, 5, 4)), np.array(rng.random(shape) < 0.7)
    full = np.broadcast_to(where, x.shape).copy()
    for axis in (0, 1, -1):
        labels = full.argmax(axis=axis)
        options = {"reduction": "none", "return_grad": True, "label_smoothing": smoothing}
        found = csm.cross_entropy(x, labels, axis, where=where, **options)
        expected = csm.cross_entropy(x, labels, axis, where=full, **options)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@every_kind
@every_dtype
def test_masked_loss_in_any_layout(csm, kind, dtype):
    x, where, target = problem(kind, 8, dtype=dtype)
    options = {"where": where, "reduction": "none", "return_grad": True, "label_smoothing": 0.5, "softcap": 9.0}
    loss, gradient = csm.cross_entropy(poisoned(x, where), target, **options)
    gapped = np.full((14, 16), SENTINEL, dtype)
    gapped[::2, ::2] = poisoned(x, where)
    for given in (np.asfortranarray(x), gapped[::2, ::2], poisoned(x, where)):
        found = csm.cross_entropy(given, target, out=given, **options)
        assert found[1] is given
        np.testing.assert_array_equal(found[0], loss)
        np.testing.assert_array_equal(given.astype(float), gradient.astype(float))
    assert (gapped[1::2] == SENTINEL).all()
    if dtype == "float64":
        buffer = np.zeros(x.shape)
        buffer.view(bool)[:, ::8] = where
        found = csm.cross_entropy(x, target, out=buffer, **options | {"where": buffer.view(bool)[:, ::8]})
        np.testing.assert_array_equal(found[0], loss)
        np.testing.assert_array_equal(buffer, gradient)


@pytest.mark.parametrize("shape", [(), (6,), (1,), (5, 6), (2, 1, 1), (2, 5, 1), (1, 5, 6), (2, 5, 6)], ids=str)
@every_kind
def test_linear_cross_entropy_under_a_mask(csm, kind, shape):
    rng = np.random.default_rng(1)
    x, w, bias = rng.normal(size=(2, 5, 3)), rng.normal(size=(6, 3)), rng.normal(size=6)
    where = np.array(rng.random(shape) < 0.7)
    full = np.broadcast_to(where, (2, 5, 6))
    labels = np.where(full.any(axis=-1), full.argmax(axis=-1), -100)
    target = {
        "index": labels,
        "probabilities": np.where(full, rng.random((2, 5, 6)), 0),
        "sparse": (np.stack([labels, labels], axis=-1), rng.random((2, 5, 2))),
    }[kind]
    options = {"label_smoothing": 0.1, "reduction": "none", "return_grad": True}
    options["sample_weight"] = np.arange(10.0).reshape(2, 5)
    loss, g = csm.cross_entropy(x @ w.T + bias, target, where=where, **options)
    for chunk_size in (None, 1, 3, 7):
        found, (dx, dw, db) = csm.linear_cross_entropy(
            x, w, target, bias, where=where, chunk_size=chunk_size, **options
        )
        near(found, loss)
        near(dx, g @ w)
        near(dw, np.tensordot(g, x, ((0, 1), (0, 1))), scale=100)
        near(db, g.sum(axis=(0, 1)), scale=100)


def test_linear_cross_entropy_of_no_rows_or_classes(csm):
    w = np.eye(3)
    assert csm.linear_cross_entropy(w[0], w, 1, where=[True, False, True]) == np.inf
    assert csm.linear_cross_entropy(np.zeros((0, 3)), w, np.zeros(0, int), where=w[0] > 0, reduction="sum") == 0
