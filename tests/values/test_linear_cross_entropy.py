"""linear_cross_entropy: against the float64 formula on whole logits, cross_entropy, and finite differences.

Every form of target, option, `out` and layout is compared with the formula of support/linear.py.
"""

import tracemalloc

import numpy as np
import pytest
from layouts import LAYOUTS
from linear import (
    CLASSES,
    FEATURES,
    KINDS,
    ROWS,
    RTOL,
    all_near,
    dtype_of,
    every_kind,
    every_reduction,
    formula,
    near,
    problem,
)

SENTINEL = 7.25


def names_of(csm):
    """The names that linear_cross_entropy of this copy of the package looks up."""
    return csm.linear_cross_entropy.__globals__


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


# The values


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
    from csoftmax._products import _fill

    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    for given in (halves, finite, halves.reshape(256, 256).T, halves.astype(">f2")):
        with np.errstate(invalid="ignore"):
            expected = given.astype(np.float32)
        widened = _fill(np.empty(given.shape, np.float32), given)
        np.testing.assert_array_equal(widened, expected)
        np.testing.assert_array_equal(np.signbit(widened), np.signbit(expected))


@pytest.mark.parametrize("layout", [*LAYOUTS, "read-only"])
def test_linear_cross_entropy_in_any_layout(csm, layout):
    given = problem()
    expected = formula(**given)
    make = LAYOUTS.get(layout, np.copy)
    laid = {name: a if name == "target" else make(a) for name, a in given.items()}
    if layout == "read-only":
        for name in ("x", "w", "bias"):
            laid[name].flags.writeable = False
    result = csm.linear_cross_entropy(**laid, return_grad=True, chunk_size=4)
    all_near(result, expected)
    assert all(g.flags.c_contiguous and g.dtype.isnative for g in result[1])


@pytest.mark.parametrize("layout", LAYOUTS)
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
        for layout in (np.asarray, LAYOUTS["with gaps"]):
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
