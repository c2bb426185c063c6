"""linear_cross_entropy: against the float64 formula on whole logits, cross_entropy, and finite differences.

`formula` is the loss as docs/derivation.md has it, on logits that exist whole. Every form of target, option, `out`
and layout is compared with it, and every bad input must leave all arrays as they were.
"""

import inspect
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

ROWS, FEATURES, CLASSES = 13, 5, 7
KINDS = ["labels", "probabilities", "pair"]
SENTINEL = 7.25
RTOL = {"float64": 1e-11, "float32": 2e-5, "float16": 2e-3, "bfloat16": 2e-2}
SIGNATURE = (
    "(x, w, target, bias=None, *, weight=None, sample_weight=None, ignore_index=-100, label_smoothing=0.0, "
    "focal_gamma=0.0, z_loss=0.0, softcap=None, temperature=1.0, where=None, reduction='mean', normalizer=None, "
    "return_grad=False, "
    "chunk_size=None, out=None, accumulate=False)"
)

every_kind = pytest.mark.parametrize("kind", KINDS)
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


def names_of(csm):
    """The names that linear_cross_entropy of this copy of the package looks up."""
    return csm.linear_cross_entropy.__globals__


def dtype_of(name):
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def problem(kind="labels", rows=ROWS, dtype="float64", seed=0, ignored=()):
    """Arguments x, w, target, bias; the rows numbered in `ignored` have a label of -100."""
    rng = np.random.default_rng([seed, rows])
    x, w = rng.normal(size=(rows, FEATURES)), rng.normal(size=(CLASSES, FEATURES))
    bias = rng.normal(size=CLASSES)
    if kind == "probabilities":
        target = rng.dirichlet(np.ones(CLASSES), rows)
    else:
        target = rng.integers(0, CLASSES, rows if kind == "labels" else (rows, 3))
        target[list(ignored)] = -100
    if kind == "pair":
        target[::4, 1] = -100
        target = target, rng.uniform(0, 1, (rows, 3))
    x, w, bias = (a.astype(dtype_of(dtype)) for a in (x, w, bias))
    return {"x": x, "w": w, "target": target, "bias": bias}


def full_target(target, rows, classes, ignore_index):
    """The target as probabilities (rows, classes); and which rows count."""
    if not isinstance(target, tuple) and np.ndim(target) == 2:
        return np.asarray(target, float), np.ones(rows, bool)
    if isinstance(target, tuple):
        index, prob = target
    else:
        index, prob = np.asarray(target)[:, None], np.ones((rows, 1))
    used = index != ignore_index
    full = np.zeros((rows, classes))
    np.add.at(full, (np.nonzero(used)[0], index[used].astype(int)), prob[used])
    return full, used.any(axis=1)


def formula(
    x, w, target, bias=None, *, weight=None, sample_weight=None, ignore_index=-100, label_smoothing=0.0, z_loss=0.0,
    softcap=None, temperature=1.0, reduction="mean", normalizer=None,
):  # fmt: skip
    """(loss, (dx, dw, db)) in float64, the logits whole; x has one axis of rows."""
    x, w = np.asarray(x).astype(float), np.asarray(w, float)
    x = np.where(np.isfinite(x), x, 0)
    rows, classes = len(x), len(w)
    u = x @ w.T + (0 if bias is None else np.asarray(bias, float))
    du = np.ones_like(u)
    if softcap is not None:
        du = 1 / np.cosh(u / softcap) ** 2
        u = softcap * np.tanh(u / softcap)
    t = np.broadcast_to(temperature, rows)[:, None]
    v = u / t
    top = v.max(axis=1, keepdims=True)
    lse = top + np.log(np.exp(v - top).sum(axis=1, keepdims=True))
    p = np.exp(v - lse)
    full, counts = full_target(target, rows, classes, ignore_index)
    weight = np.ones(classes) if weight is None else np.asarray(weight, float)
    c = weight * ((1 - label_smoothing) * full + label_smoothing / classes)
    s = (np.broadcast_to(1.0 if sample_weight is None else sample_weight, rows) * counts)[:, None]
    losses = s[:, 0] * ((c * (lse - v)).sum(axis=1) + z_loss * lse[:, 0] ** 2)
    g = s * ((c.sum(axis=1, keepdims=True) + 2 * z_loss * lse) * p - c) / t * du
    divisor = 1.0
    if reduction == "mean":
        by_label = not isinstance(target, tuple) and np.ndim(target) == 1
        divisor = (weight * full)[counts].sum() if by_label else counts.sum()
        divisor = divisor if normalizer is None else normalizer
    g = g / divisor
    loss = losses if reduction == "none" else losses.sum() / divisor
    return loss, (g @ w, g.T @ x, g.sum(axis=0))


def some_options(rng, rows):
    """A random combination of options."""
    drawn = {
        "weight": rng.uniform(0.2, 2, CLASSES),
        "sample_weight": rng.normal(size=rows),
        "label_smoothing": rng.uniform(0, 0.4),
        "z_loss": rng.uniform(0, 0.1),
        "softcap": rng.uniform(1, 5),
        "temperature": rng.uniform(0.5, 2, rows) if rng.random() < 0.5 else 1.7,
    }
    options = {name: value for name, value in drawn.items() if rng.random() < 0.5}
    options["reduction"] = ["mean", "sum", "none"][rng.integers(3)]
    if options["reduction"] == "mean" and rng.random() < 0.3:
        options["normalizer"] = rng.uniform(1, 20)
    return options


def near(actual, expected, rtol=RTOL["float64"]):
    """Close relative to the largest entry: sums cancel."""
    actual, expected = np.asarray(actual).astype(float), np.asarray(expected).astype(float)
    assert actual.shape == expected.shape
    scale = np.max(np.abs(expected), initial=1e-3)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale)


def all_near(result, expected, rtol=RTOL["float64"]):
    (loss, gradients), (expected_loss, expected_gradients) = result, expected
    near(loss, expected_loss, rtol)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        near(gradient, wanted, rtol)


# The values


def test_signature(csm):
    assert str(inspect.signature(csm.linear_cross_entropy)) == SIGNATURE


@every_kind
@every_reduction
def test_every_chunk_size(csm, kind, reduction):
    given = problem(kind, ignored=[2, 3, 7])
    expected = formula(**given, reduction=reduction)
    for chunk_size in [None, *range(1, ROWS + 2)]:
        all_near(
            csm.linear_cross_entropy(**given, reduction=reduction, return_grad=True, chunk_size=chunk_size), expected
        )


@pytest.mark.parametrize("dtype", RTOL)
@every_kind
def test_is_cross_entropy_of_the_logits(csm, kind, dtype):
    given = problem(kind, dtype=dtype)
    x, w, target, bias = given.values()
    real = np.float64 if dtype == "float64" else np.float32
    x, w, bias = (a.astype(real) for a in (x, w, bias))
    loss, g = csm.cross_entropy(x @ w.T + bias, target, return_grad=True)
    result = csm.linear_cross_entropy(**given, return_grad=True, chunk_size=4)
    assert result[0].dtype == real
    assert [a.dtype for a in result[1]] == [dtype_of(dtype)] * 3
    near(result[0], loss, RTOL["float32" if real is np.float32 else "float64"])
    for gradient, wanted in zip(result[1], (g @ w, g.T @ x, g.sum(axis=0)), strict=True):
        near(gradient, wanted, RTOL[dtype])


@pytest.mark.parametrize("seed", range(100))
def test_combinations_of_options(csm, seed):
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % 3]
    given = problem(kind, seed=seed, ignored=rng.choice(ROWS, 4, replace=False))
    if rng.random() < 0.3:
        given["bias"] = None
    options = some_options(rng, ROWS)
    result = csm.linear_cross_entropy(**given, **options, return_grad=True, chunk_size=int(rng.integers(1, ROWS + 1)))
    loss, (dx, dw, db) = formula(**given, **options)
    if given["bias"] is None:
        assert result[1][2] is None
        result, db = (result[0], result[1][:2]), ()
    all_near(result, (loss, (dx, dw, db) if len(db) else (dx, dw)))
    near(csm.linear_cross_entropy(**given, **options), loss)


@pytest.mark.parametrize("seed", range(12))
def test_finite_differences(csm, seed):
    rng = np.random.default_rng(1000 + seed)
    given = problem(KINDS[seed % 3], seed=seed, ignored=[4])
    options = some_options(rng, ROWS) | {"reduction": ["mean", "sum"][seed % 2], "chunk_size": 5}
    if options["reduction"] == "sum":
        options.pop("normalizer", None)
    _, gradients = csm.linear_cross_entropy(**given, **options, return_grad=True)
    for name, gradient in zip(("x", "w", "bias"), gradients, strict=True):
        direction = rng.normal(size=gradient.shape)

        def along(step, name=name, direction=direction):
            moved = given | {name: given[name] + step * direction}
            return csm.linear_cross_entropy(**moved, **options)

        h = 1e-3
        slope = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
        assert slope == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-8)


def test_loss_alone_is_the_loss(csm):
    given = problem(dtype="float32")
    for reduction in ("mean", "sum", "none"):
        alone = csm.linear_cross_entropy(**given, reduction=reduction, chunk_size=5)
        both, _ = csm.linear_cross_entropy(**given, reduction=reduction, chunk_size=5, return_grad=True)
        np.testing.assert_array_equal(alone, both)
        assert alone.dtype == np.float32


# Shapes


@pytest.mark.parametrize("rows", [(), (1,), (2, 3), (2, 1, 3)])
@every_kind
def test_axes_of_rows(csm, kind, rows):
    count = int(np.prod(rows))
    given = problem(kind, rows=count)
    _, (dx, dw, db) = formula(**given, reduction="sum")
    losses, _ = formula(**given, reduction="none")
    target = given["target"]
    if isinstance(target, tuple):
        given["target"] = tuple(a.reshape(*rows, 3) for a in target)
    else:
        given["target"] = target.reshape((*rows, *target.shape[1:]))
    given["x"] = given["x"].reshape(*rows, FEATURES)
    result = csm.linear_cross_entropy(**given, reduction="none", return_grad=True)
    all_near(result, (losses.reshape(rows), (dx.reshape(*rows, FEATURES), dw, db)))
    assert result[0].shape == rows


def test_per_row_options_broadcast(csm):
    given = problem(rows=6)
    flat = given | {"target": np.repeat(given["target"][:2], 3)}
    folded = given | {"x": given["x"].reshape(2, 3, FEATURES), "target": given["target"][:2, None]}
    s, t = np.array([1.5, -0.5]), np.array([0.5, 1.0, 2.0])
    expected, _ = formula(**flat, sample_weight=np.repeat(s, 3), temperature=np.tile(t, 2))
    near(csm.linear_cross_entropy(**folded, sample_weight=s[:, None], temperature=t), expected)


@pytest.mark.parametrize("features", [0, 1])
def test_hardly_any_features(csm, features):
    x, w, bias = np.ones((4, features)), np.ones((3, features)), np.array([0.0, 1.0, 2.0])
    labels = np.array([0, 1, 2, 2])
    all_near(csm.linear_cross_entropy(x, w, labels, bias, return_grad=True), formula(x, w, labels, bias))


def test_no_rows(csm):
    given = {"x": np.empty((0, 3)), "w": np.ones((4, 3)), "target": np.empty(0, int), "bias": np.ones(4)}
    loss, (dx, dw, db) = csm.linear_cross_entropy(**given, return_grad=True)
    assert np.isnan(loss)
    assert dx.shape == (0, 3)
    np.testing.assert_array_equal(dw, np.zeros((4, 3)))
    np.testing.assert_array_equal(db, np.zeros(4))
    assert csm.linear_cross_entropy(**given, normalizer=3.0) == 0
    assert csm.linear_cross_entropy(**given, reduction="sum") == 0
    assert csm.linear_cross_entropy(**given, reduction="none").shape == (0,)


def test_lists(csm):
    loss = csm.linear_cross_entropy([[1, 2], [3, 4]], [[1, 0], [0, 1], [1, 1]], [0, 2.0], [0, 0, 1])
    assert isinstance(loss, np.float64)
    near(loss, formula(np.array([[1, 2], [3, 4]]), np.array([[1, 0], [0, 1], [1, 1]]), [0, 2], [0, 0, 1])[0])


# Dtypes and layouts of x, w and bias


@pytest.mark.parametrize(
    ("x", "w", "bias", "loss"),
    [
        ("float32", "float64", "float32", "float64"),
        ("float16", "float32", "float32", "float32"),
        ("float32", "bfloat16", "float16", "float32"),
        ("float16", "bfloat16", "float16", "float32"),
        ("float64", "float16", "bfloat16", "float64"),
        ("int8", "float32", "float32", "float32"),
        ("int64", "int64", "bool", "float64"),
    ],
)
def test_mixed_dtypes(csm, x, w, bias, loss):
    given = problem()
    for name, dtype in {"x": x, "w": w, "bias": bias}.items():
        given[name] = (2 * given[name]).astype(dtype_of(dtype))
    result = csm.linear_cross_entropy(**given, return_grad=True, chunk_size=4)
    assert result[0].dtype == loss
    kept = [dtype_of(d) if "float" in d else np.float64 for d in (x, w, bias)]
    assert [g.dtype for g in result[1]] == kept
    expected_loss, expected = formula(**given)
    near(result[0], expected_loss, RTOL[loss])
    for gradient, wanted in zip(result[1], expected, strict=True):
        near(gradient, wanted, max(RTOL[gradient.dtype.name], RTOL[loss]))


def test_sixteen_bit_gradients_are_rounded_once(csm):
    """Many chunks lose nothing: dw is summed in float32."""
    given = problem(rows=400, dtype="bfloat16")
    _, (_, dw, db) = csm.linear_cross_entropy(**given, reduction="sum", return_grad=True, chunk_size=1)
    wide = {name: a if name == "target" else a.astype(np.float32) for name, a in given.items()}
    _, (_, exact, exact_db) = csm.linear_cross_entropy(**wide, reduction="sum", return_grad=True)
    for rounded, number in ((dw, exact), (db, exact_db)):
        np.testing.assert_allclose(rounded.astype(np.float32), number, rtol=2**-8, atol=1e-4)


def test_every_float16_is_widened_exactly(csm):
    from csoftmax._linear import _fill

    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    for given in (halves, finite, halves.reshape(256, 256).T, halves.astype(">f2")):
        with np.errstate(invalid="ignore"):
            expected = given.astype(np.float32)
        widened = _fill(np.empty(given.shape, np.float32), given)
        np.testing.assert_array_equal(widened, expected)
        np.testing.assert_array_equal(np.signbit(widened), np.signbit(expected))


def misaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def spread(a):
    wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


LAYOUTS = {
    "fortran": np.asfortranarray,
    "spread": spread,
    "backwards": lambda a: a[..., ::-1].copy()[..., ::-1],
    "misaligned": misaligned,
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: np.require(a.copy(), requirements=["O"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(csm, layout):
    given = problem()
    expected = formula(**given)
    laid = {name: a if name == "target" else LAYOUTS[layout](a) for name, a in given.items()}
    if layout == "read-only":
        for name in ("x", "w", "bias"):
            laid[name].flags.writeable = False
    result = csm.linear_cross_entropy(**laid, return_grad=True, chunk_size=4)
    all_near(result, expected)
    assert all(g.flags.c_contiguous and g.dtype.isnative for g in result[1])


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read-only"])
@pytest.mark.parametrize("accumulate", [False, True])
def test_layouts_of_out(csm, layout, accumulate):
    given = problem(ignored=[1, 5])
    loss, (dx, dw, db) = formula(**given)
    out = tuple(LAYOUTS[layout](np.full(a.shape, SENTINEL)) for a in (dx, dw, db))
    result = csm.linear_cross_entropy(**given, return_grad=True, chunk_size=4, out=out, accumulate=accumulate)
    assert all(a is b for a, b in zip(result[1], out, strict=True))
    before = SENTINEL if accumulate else 0
    all_near(result, (loss, (dx, dw + before, db + before)))


def test_many_tiles(csm, monkeypatch):
    """Weights converted, and dw added, by tiles of a few classes."""
    module = names_of(csm)
    monkeypatch.setitem(module, "_TILE", 1)
    monkeypatch.setitem(module, "_LEAST_CLASSES", 2)
    for dtype in RTOL:
        given = problem(dtype=dtype, ignored=[3])
        expected = formula(**given)
        for layout in (np.asarray, spread):
            laid = given | {"w": layout(given["w"])}
            all_near(csm.linear_cross_entropy(**laid, return_grad=True, chunk_size=4), expected, RTOL[dtype])


# out= and accumulate=


@pytest.mark.parametrize("given_out", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("accumulate", [False, True])
def test_each_of_out_may_be_none(csm, given_out, accumulate):
    given = problem()
    loss, expected = formula(**given)
    out = tuple(np.full(a.shape, SENTINEL) if wanted else None for a, wanted in zip(expected, given_out, strict=True))
    result = csm.linear_cross_entropy(**given, return_grad=True, out=out, accumulate=accumulate)
    added = [0, *(SENTINEL * accumulate * wanted for wanted in given_out[1:])]
    all_near(result, (loss, [a + more for a, more in zip(expected, added, strict=True)]))
    for gradient, wanted in zip(result[1], out, strict=True):
        assert wanted is None or gradient is wanted


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", ">f8"])
@pytest.mark.parametrize("accumulate", [False, True])
def test_out_of_any_floating_dtype(csm, dtype, accumulate):
    given = problem(dtype="float32", ignored=[0])
    loss, (dx, dw, db) = formula(**given)
    dtype = dtype_of(dtype)
    out = tuple(np.ones(a.shape, dtype) for a in (dx, dw, db))
    result = csm.linear_cross_entropy(**given, return_grad=True, out=out, accumulate=accumulate, chunk_size=3)
    all_near(result, (loss, (dx, dw + accumulate, db + accumulate)), max(RTOL[dtype.name], RTOL["float32"]))


def test_float32_dw_of_sixteen_bit_weights_is_the_sum_itself(csm):
    given = problem(dtype="float16")
    dw = np.zeros((CLASSES, FEATURES), np.float32)
    csm.linear_cross_entropy(**given, return_grad=True, out=(None, dw, None), chunk_size=1)
    near(dw, formula(**given)[1][1], RTOL["float32"])


def test_accumulates_over_calls(csm):
    given = problem(rows=20)
    _, (_, dw, db) = formula(**given, reduction="sum")
    out = None, np.zeros_like(dw), np.zeros_like(db)
    for rows in (slice(8), slice(8, 20)):
        part = given | {"x": given["x"][rows], "target": given["target"][rows]}
        csm.linear_cross_entropy(**part, reduction="sum", return_grad=True, out=out, accumulate=True)
    near(out[1], dw)
    near(out[2], db)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("ignored", [[], [0, 4, 5]])
def test_dx_in_the_place_of_x(csm, dtype, ignored):
    given = problem(dtype=dtype, ignored=ignored)
    expected = formula(**given)
    x = given["x"]
    result = csm.linear_cross_entropy(**given, return_grad=True, out=(x, None, None), chunk_size=3)
    assert result[1][0] is x
    all_near(result, expected, RTOL[dtype])


@pytest.mark.parametrize("accumulate", [False, True])
def test_out_that_overlaps_inputs(csm, accumulate):
    given = problem()
    loss, (dx, dw, db) = formula(**given)
    memory = np.zeros(ROWS * FEATURES + 3)
    memory[3:] = given["x"].ravel()
    given["x"] = memory[3:].reshape(ROWS, FEATURES)
    shifted = memory[:-3].reshape(ROWS, FEATURES)
    before = [given["w"].copy() * accumulate, given["bias"].copy() * accumulate]
    out = shifted, given["w"], given["bias"]
    result = csm.linear_cross_entropy(**given, return_grad=True, out=out, accumulate=accumulate, chunk_size=4)
    all_near(result, (loss, (dx, dw + before[0], db + before[1])))
    assert result[1][0] is shifted


def test_out_that_overlaps_what_is_given_per_row(csm):
    given = problem("probabilities") | {"bias": None}
    memory = np.zeros(CLASSES * ROWS)
    memory[:] = given["target"].ravel()
    expected = formula(**given)
    given["target"] = memory.reshape(ROWS, CLASSES)
    out = memory[: ROWS * FEATURES].reshape(ROWS, FEATURES), None, None
    loss, (dx, dw, _) = csm.linear_cross_entropy(**given, return_grad=True, out=out, chunk_size=4)
    all_near((loss, (dx, dw)), (expected[0], expected[1][:2]))


def test_weights_and_bias_in_one_matrix(csm):
    given = problem()
    loss, (dx, dw, db) = formula(**given)
    model, gradient = np.column_stack([given["w"], given["bias"]]), np.zeros((CLASSES, FEATURES + 1))
    given |= {"w": model[:, :-1], "bias": model[:, -1]}
    out = None, gradient[:, :-1], gradient[:, -1]
    all_near(csm.linear_cross_entropy(**given, return_grad=True, out=out, chunk_size=4), (loss, (dx, dw, db)))
    near(gradient, np.column_stack([dw, db]))


# Special values: warnings are errors here


def test_nan_and_infinity(csm):
    given = problem(dtype="float32")
    given["x"][2, 0], given["x"][5, 1] = np.nan, np.inf
    loss, (dx, dw, _) = csm.linear_cross_entropy(**given, reduction="none", return_grad=True, chunk_size=4)
    assert np.isnan(loss[[2, 5]]).all()
    assert np.isnan(dx[[2, 5]]).all()
    assert np.isnan(dw).all()
    fine = np.delete(np.arange(ROWS), [2, 5])
    clean = given | {"x": np.where(np.isfinite(given["x"]), given["x"], 0)}
    expected, (expected_dx, _, _) = formula(**clean, reduction="none")
    near(loss[fine], expected[fine], RTOL["float32"])
    near(dx[fine], expected_dx[fine], RTOL["float32"])


def test_overflow_on_the_way_out(csm):
    given = problem(dtype="float32")
    options = {"sample_weight": 1e30, "reduction": "sum", "out": (np.zeros((ROWS, FEATURES), "f2"), None, None)}
    _, (dx, _, _) = csm.linear_cross_entropy(**given, **options, return_grad=True)
    assert np.isinf(dx).any()


def test_a_bias_of_minus_infinity_bars_a_class(csm):
    given = problem()
    given["target"][:] = np.where(given["target"] == 6, 0, given["target"])
    without = given | {"w": given["w"][:6], "bias": given["bias"][:6]}
    given["bias"][6] = -np.inf
    loss, (dx, dw, db) = csm.linear_cross_entropy(**given, return_grad=True, chunk_size=5)
    expected, (expected_dx, expected_dw, expected_db) = formula(**without)
    all_near((loss, (dx, dw[:6], db[:6])), (expected, (expected_dx, expected_dw, expected_db)))
    assert not dw[6].any()
    assert db[6] == 0


# Bad input


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


LABELS = problem()["target"]
BAD = {
    "label too large": (IndexError, r"target\[12\] = 7\b", {"target": changed(LABELS, 12, CLASSES)}),
    "label negative": (IndexError, r"target\[11\] = -3\b", {"target": changed(LABELS, 11, -3)}),
    "label enormous": (IndexError, r"\[9\].*1000000000000", {"target": changed(LABELS, 9, 10**12)}),
    "label beyond int64": (
        IndexError, r"\[9\].*18446744073709551615", {"target": changed(LABELS.astype("u8"), 9, 2**64 - 1)},
    ),
    "label of -100 as uint64": (IndexError, r"\[4\]", {"target": changed(LABELS.astype("u8"), 4, 2**64 - 100)}),
    "label infinite": (ValueError, r"\[2\] = inf", {"target": changed(LABELS.astype(float), 2, np.inf)}),
    "label a fraction": (ValueError, r"\[10\] = 1.5", {"target": changed(LABELS.astype(float), 10, 1.5)}),
    "label NaN": (ValueError, r"\[10\] = nan", {"target": changed(LABELS.astype(float), 10, np.nan)}),
    "labels bool": (TypeError, "target", {"target": LABELS > 2}),
    "labels masked": (TypeError, "target", {"target": np.ma.masked_equal(LABELS, 2)}),
    "labels too few": (ValueError, r"\(12,\).*\(13,\)", {"target": LABELS[:-1]}),
    "probabilities too narrow": (ValueError, r"\(13, 6\).*\(13, 7\)", {"target": np.zeros((ROWS, CLASSES - 1))}),
    "probabilities with ignore_index": (
        ValueError, "ignore_index", {"target": np.zeros((ROWS, CLASSES)), "ignore_index": 3},
    ),
    "pair of three": (ValueError, "target", {"target": (LABELS, LABELS, LABELS)}),
    "pair without slots": (ValueError, "target", {"target": (LABELS, LABELS)}),
    "pair of two lengths": (
        ValueError, r"\(13, 2\).*\(13, 3\)", {"target": (np.zeros((13, 2), int), np.ones((13, 3)))},
    ),
    "pair with a bad label": (
        IndexError, r"\[5, 1\] = 7\b", {"target": (changed(np.zeros((13, 2), int), (5, 1), 7), np.ones((13, 2)))},
    ),
    "ignore_index": (TypeError, "ignore_index", {"ignore_index": 1.5}),
    "x of no dimension": (ValueError, r"\(\)", {"x": np.array(1.0)}),
    "x too narrow": (ValueError, r"\(13, 4\).*\(7, 5\)", {"x": np.zeros((ROWS, FEATURES - 1))}),
    "x complex": (TypeError, "x has dtype complex128", {"x": np.zeros((ROWS, FEATURES), complex)}),
    "x masked": (TypeError, "x is a masked array", {"x": np.ma.zeros((ROWS, FEATURES))}),
    "w of three axes": (ValueError, r"w has shape \(7, 5, 1\)", {"w": np.zeros((CLASSES, FEATURES, 1))}),
    "w without classes": (IndexError, "classes", {"w": np.zeros((0, FEATURES)), "bias": None, "out": None}),
    "w text": (TypeError, "w has dtype", {"w": np.full((CLASSES, FEATURES), "1")}),
    "bias too long": (ValueError, r"bias.*\(8,\).*\(7,\)", {"bias": np.zeros(CLASSES + 1)}),
    "bias of two axes": (ValueError, "bias", {"bias": np.zeros((1, CLASSES))}),
    "weight too long": (ValueError, "weight", {"weight": np.ones(CLASSES + 1)}),
    "sample_weight too long": (ValueError, "sample_weight", {"sample_weight": np.ones(ROWS + 1)}),
    "sample_weight masked": (TypeError, "sample_weight", {"sample_weight": np.ma.ones(ROWS)}),
    "label_smoothing": (ValueError, "label_smoothing", {"label_smoothing": 1.5}),
    "softcap": (ValueError, "softcap", {"softcap": 0.0}),
    "temperature": (ValueError, "temperature", {"temperature": 0.0}),
    "temperature of a row": (ValueError, r"temperature.*12", {"temperature": changed(np.ones(ROWS), 12, -1)}),
    "temperature too long": (ValueError, "temperature", {"temperature": np.ones(ROWS + 1)}),
    "reduction": (ValueError, "reduction", {"reduction": "average"}),
    "normalizer without a mean": (ValueError, "normalizer", {"normalizer": 2.0, "reduction": "sum"}),
    "chunk_size zero": (ValueError, "chunk_size", {"chunk_size": 0}),
    "chunk_size a fraction": (TypeError, "chunk_size", {"chunk_size": 2.5}),
    "out without gradients": (ValueError, "return_grad", {"return_grad": False}),
    "accumulate without gradients": (
        ValueError, "accumulate", {"return_grad": False, "out": None, "accumulate": True},
    ),
    "out an array": (TypeError, "out", {"out": np.zeros((ROWS, FEATURES))}),
    "out of two": (TypeError, "out", {"out": (None, None)}),
    "db without a bias": (ValueError, "db", {"bias": None}),
}  # fmt: skip


def refused(csm, error, words, **changes):
    """The call raises `error` with `words` in its message, and no array changes."""
    given = problem(ignored=[8]) | {"return_grad": True}
    given["out"] = tuple(np.full(given[name].shape, SENTINEL) for name in ("x", "w", "bias"))
    given |= changes
    outs = given["out"] if isinstance(given["out"], tuple) else (given["out"],)
    arrays = [a for a in (*given.values(), *outs) if isinstance(a, np.ndarray)]
    before = [np.asarray(a).tobytes() for a in arrays]
    with pytest.raises(error, match=words):
        csm.linear_cross_entropy(**given)
    assert [np.asarray(a).tobytes() for a in arrays] == before


@pytest.mark.parametrize("case", BAD)
def test_bad_input(csm, case):
    error, words, changes = BAD[case]
    refused(csm, error, words, **changes)


@pytest.mark.parametrize("number", range(3))
def test_bad_out(csm, number):
    shapes = (ROWS, FEATURES), (CLASSES, FEATURES), (CLASSES,)
    name, shape = ("dx", "dw", "db")[number], shapes[number]

    def with_out(array):
        return {"out": tuple(array if i == number else np.full(s, SENTINEL) for i, s in enumerate(shapes))}

    read_only = np.full(shape, SENTINEL)
    read_only.flags.writeable = False
    refused(csm, ValueError, f"{name}.*read-only", **with_out(read_only))
    refused(csm, ValueError, f"{name}.*shape", **with_out(np.full((*shape, 1), SENTINEL)))
    one_number = np.lib.stride_tricks.as_strided(np.zeros(1), shape, [0] * len(shape))
    refused(csm, ValueError, f"{name}.*memory", **with_out(one_number))
    refused(csm, TypeError, f"{name}.*dtype", **with_out(np.zeros(shape, int)))
    refused(csm, TypeError, f"{name}.*list", **with_out([0.0]))


def test_outputs_that_share_memory(csm):
    memory = np.full(ROWS * FEATURES + CLASSES * FEATURES - 1, SENTINEL)
    dx = memory[: ROWS * FEATURES].reshape(ROWS, FEATURES)
    dw = memory[-CLASSES * FEATURES :].reshape(CLASSES, FEATURES)
    refused(csm, ValueError, "dx and dw.*memory", out=(dx, dw, None))
    refused(csm, ValueError, "dw and db.*memory", out=(None, dw, dw[:, 0]))


# Memory


@pytest.mark.parametrize("least", [2**22, 2**26])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("ignored", [False, True])
def test_memory(csm, monkeypatch, dtype, ignored, least):
    """An eighth of the logits, or 64 MB; the former is tried on fewer of them, 64 MB being made 4 and tiles a MB."""
    module = names_of(csm)
    monkeypatch.setitem(module, "_MEMORY", least)
    monkeypatch.setitem(module, "_TILE", least // 16)
    rows, features, classes = 2560, 32, 8000
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(rows, features)).astype(dtype), rng.normal(size=(classes, features)).astype(dtype)
    labels, bias = rng.integers(0, classes, rows), np.zeros(classes, dtype)
    labels[:: 3 if ignored else rows] = -100
    out = np.zeros_like(x), np.zeros(w.shape, np.result_type(w, np.float32)), np.zeros_like(bias)
    tracemalloc.start()
    try:
        csm.linear_cross_entropy(x, w, labels, bias, return_grad=True, out=out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < max(least, rows * classes * out[1].itemsize / 8)


def test_chunks_hold_many_rows(csm, monkeypatch):
    """The products of few rows are slow, and each chunk but the first adds to dw: chunks use the memory they have."""
    module = names_of(csm)
    sizes, real = [], module["cross_entropy"]

    def counting(logits, *args, **options):
        sizes.append(len(logits))
        return real(logits, *args, **options)

    monkeypatch.setitem(module, "cross_entropy", counting)
    for rows, classes, expected in ((9000, 100, [9000]), (1024, 4000, [1024]), (3000, 4000, 3 * [1000]),
                                    (400, 64000, [200, 200])):  # fmt: skip
        sizes.clear()
        x, w = np.zeros((rows, 2), np.float32), np.zeros((classes, 2), np.float32)
        csm.linear_cross_entropy(x, w, np.zeros(rows, int), return_grad=True)
        assert sizes == [1, *expected]  # a row checks the options
