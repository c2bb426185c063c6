"""`where=` of the losses and of selective_log_softmax: which classes take part, row by row; and the other options of
selective_log_softmax.
"""

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
import reference

DTYPES = ["float16", "bfloat16", "float32", "float64"]
TOLERANCE = {"float16": 2.0**-9, "bfloat16": 2.0**-6, "float32": 2e-6, "float64": 1e-13}
SENTINEL = 7.25
KINDS = ["index", "probabilities", "sparse"]
OPTIONS = {
    "none": lambda n, rows: {},
    "weight": lambda n, rows: {"weight": np.linspace(0.5, 2.0, n)},
    "sample_weight": lambda n, rows: {"sample_weight": np.linspace(-1.0, 2.0, rows)},
    "label_smoothing": lambda n, rows: {"label_smoothing": 0.2},
    "all smoothing": lambda n, rows: {"label_smoothing": 1.0},
    "z_loss": lambda n, rows: {"z_loss": 0.05},
    "softcap": lambda n, rows: {"softcap": 6.0},
    "temperature": lambda n, rows: {"temperature": np.linspace(0.5, 3.0, rows)},
}
OPTIONS["all"] = lambda n, rows: {
    k: v for name, option in OPTIONS.items() if name not in ("all", "all smoothing") for k, v in option(n, rows).items()
}

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


def poisoned(x, where, hidden=np.nan):
    with np.errstate(over="ignore"):
        return np.where(where, x, np.array(hidden).astype(x.dtype))


def by_reference(x, target, where, **options):
    rows = list(zip(*(a.tolist() for a in target), strict=True)) if isinstance(target, tuple) else target.tolist()
    plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in options.items()}
    return reference.cross_entropy(x.astype(float).tolist(), rows, where=where.tolist(), **plain)


def same(actual, expected, dtype="float64", scale=1.0):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=scale * TOLERANCE[dtype])


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", OPTIONS)
@every_kind
def test_by_the_reference(csm, kind, name, reduction):
    for n in (1, 2, 3, 10, 70):
        x, where, target = problem(kind, n)
        options = OPTIONS[name](n, len(x)) | {"reduction": reduction}
        loss, gradient = by_reference(x, target, where, **options)
        for axis in (-1, 0):
            hidden, mask = (a if axis else np.ascontiguousarray(a.T) for a in (poisoned(x, where), where))
            given = target.T if kind == "probabilities" and axis == 0 else target
            found, slopes = csm.cross_entropy(hidden, given, axis, where=mask, return_grad=True, **options)
            same(found, loss, scale=100 * n)
            slopes = slopes.T if axis == 0 else slopes
            same(slopes, gradient, scale=100)
            np.testing.assert_array_equal(slopes[~where], 0)
            without = csm.cross_entropy(hidden, given, axis, where=mask, **options)
            np.testing.assert_array_equal(without, found)


@every_dtype
@every_kind
def test_is_the_compressed_row(csm, kind, dtype):
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
            same(loss[i], alone, "float32" if x.dtype.itemsize == 2 else dtype, scale=n)
            same(gradient[i][kept], slopes, dtype, scale=10)
            np.testing.assert_array_equal(gradient[i][~kept].astype(float), 0)


@every_hidden
@every_kind
@pytest.mark.parametrize("name", ["none", "all"])
def test_nothing_leaks(csm, kind, name, hidden):
    for dtype in ("float32", "float64"):
        for n in (3, 40, 200):
            x, where, target = problem(kind, n, dtype=dtype)
            options = OPTIONS[name](n, len(x)) | {"where": where, "return_grad": True}
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
        np.array([1, 0]), np.array([[0, 0.5, 0.5], [1, 0, 0]]), (np.array([[1, 0], [0, 1]]), np.ones((2, 2)))
    ):
        loss, gradient = csm.cross_entropy(x, target, where=where, reduction="none", return_grad=True, **options)
        assert loss[0] == np.inf and np.isfinite(loss[1])
        assert np.isfinite(gradient).all() and (gradient[~where] == 0).all() and (gradient[where] != 0).all()
    nothing = np.array([[0.5, 0, 0.5], [1, 0, 0]])
    assert np.isfinite(csm.cross_entropy(x, nothing, where=where, **options))
    assert np.isfinite(csm.cross_entropy(x, [1, 0], where=where, sample_weight=[0, 1], reduction="sum", **options))


@pytest.mark.parametrize("axis", [-1, 0])
@every_dtype
def test_rows_without_classes(csm, dtype, axis):
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
        same(loss, [np.log(n), np.inf, -np.inf, 0, 0, np.inf, np.inf], least)
        np.testing.assert_array_equal(gradient[~where].astype(float), 0)
    weight = [1, 1, 1, 1, 0]
    loss, _ = csm.cross_entropy(x, [0, 1, 2, 3, -100, 4, 4], axis, sample_weight=s, weight=weight, **options)
    same(loss, [np.log(n), np.inf, -np.inf, 0, 0, 0, 0], least)
    soft = np.zeros((7, n))
    soft[:2, 0], soft[2, 0], soft[5, 4] = 1, -1, 1
    soft = soft if axis else soft.T
    loss, gradient = csm.cross_entropy(x, soft, axis, weight=weight, **options)
    same(loss, [np.log(n), np.inf, -np.inf, 0, 0, 0, 0], least)
    np.testing.assert_array_equal(gradient[~where].astype(float), 0)
    pair = np.array([[0, 1], [0, 1], [-100, -100], [1, 1], [1, 4], [4, 4], [2, -100]])
    prob = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 1], [1, 1], [-1, 0]])
    loss, _ = csm.cross_entropy(x, (pair, prob), axis, weight=weight, **options)
    same(loss, [np.log(n), np.inf, 0, 0, np.inf, 0, -np.inf], least)
    assert csm.cross_entropy(x, [1] * 7, axis, where=where) == np.inf
    assert csm.cross_entropy(x, soft * 0, axis, where=where, z_loss=0.5) == np.inf


@pytest.mark.parametrize("shape", [(), (4,), (1,), (5, 1), (5, 4), (3, 1, 1), (3, 1, 4), (1, 5, 1), (3, 5, 4)], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_broadcasts(csm, shape, smoothing):
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
def test_layouts_and_out(csm, kind, dtype):
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


@pytest.mark.parametrize(("where", "error", "words"), [
    (np.ones(3, bool), ValueError, r"where.*\(3,\).*\(2, 4\)"),
    (np.ones((4, 2), bool), ValueError, r"where.*\(4, 2\).*\(2, 4\)"),
    (np.ones((1, 2, 4), bool), ValueError, r"where.*\(1, 2, 4\).*\(2, 4\)"),
    (np.ones((2, 4)), TypeError, "where.*float64"),
    ("yes", TypeError, "where"),
    (np.ma.masked_array(np.ones((2, 4), bool), np.eye(2, 4)), TypeError, "where.*mask"),
], ids=str)
def test_bad_masks(csm, where, error, words):
    x, out = np.zeros((2, 4)), np.full((2, 4), SENTINEL)
    with pytest.raises(error, match=words):
        csm.cross_entropy(x, [0, 1], where=where, return_grad=True, out=out)
    with pytest.raises(error, match=words):
        csm.selective_log_softmax(x, [0, 1], where=where, out=out[:, 0])
    with pytest.raises(error, match=words):
        csm.linear_cross_entropy(
            np.zeros((2, 3)), np.zeros((4, 3)), [0, 1], where=where, return_grad=True, out=(out[:, :3], None, None)
        )
    np.testing.assert_array_equal(out, SENTINEL)


# selective_log_softmax


@every_dtype
def test_selective(csm, dtype):
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
                    same(found, np.where(index == 1, 0, expected), dtype, scale=40)


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


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"softcap": 0.0}, ValueError, "softcap.*0"),
    ({"softcap": np.inf}, ValueError, "softcap.*inf"),
    ({"softcap": "3"}, TypeError, "softcap"),
    ({"ignore_index": 1.5}, TypeError, "ignore_index"),
    ({"ignore_index": -2}, IndexError, r"index\[1\] = -1"),
], ids=str)
def test_selective_refuses(csm, options, error, words):
    out = np.full(2, SENTINEL)
    with pytest.raises(error, match=words):
        csm.selective_log_softmax(np.zeros((2, 3)), [0, -1], out=out, **{"ignore_index": -1} | options)
    np.testing.assert_array_equal(out, SENTINEL)


# linear_cross_entropy


@pytest.mark.parametrize("shape", [(), (6,), (1,), (5, 6), (2, 1, 1), (2, 5, 1), (1, 5, 6), (2, 5, 6)], ids=str)
@every_kind
def test_linear(csm, kind, shape):
    rng = np.random.default_rng(1)
    x, w, bias = rng.normal(size=(2, 5, 3)), rng.normal(size=(6, 3)), rng.normal(size=6)
    where = np.array(rng.random(shape) < 0.7)
    full = np.broadcast_to(where, (2, 5, 6))
    labels = np.where(full.any(axis=-1), full.argmax(axis=-1), -100)
    target = {
        "index": labels, "probabilities": np.where(full, rng.random((2, 5, 6)), 0),
        "sparse": (np.stack([labels, labels], axis=-1), rng.random((2, 5, 2))),
    }[kind]
    options = {"label_smoothing": 0.1, "reduction": "none", "return_grad": True}
    options["sample_weight"] = np.arange(10.0).reshape(2, 5)
    loss, g = csm.cross_entropy(x @ w.T + bias, target, where=where, **options)
    for chunk_size in (None, 1, 3, 7):
        found, (dx, dw, db) = csm.linear_cross_entropy(
            x, w, target, bias, where=where, chunk_size=chunk_size, **options
        )
        same(found, loss)
        same(dx, g @ w)
        same(dw, np.tensordot(g, x, ((0, 1), (0, 1))), scale=100)
        same(db, g.sum(axis=(0, 1)), scale=100)


def test_linear_without_rows(csm):
    w = np.eye(3)
    assert csm.linear_cross_entropy(w[0], w, 1, where=[True, False, True]) == np.inf
    assert csm.linear_cross_entropy(np.zeros((0, 3)), w, np.zeros(0, int), where=w[0] > 0, reduction="sum") == 0
