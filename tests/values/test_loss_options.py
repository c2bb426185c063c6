"""Every option of the losses, alone and together: random combinations against a float64 reference, finite
differences, and laws. The reference is vectorised.py.
"""

import warnings
from types import SimpleNamespace

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
import reference
import vectorised
from differences import gradient_by_differences, near, same

COMBINATIONS, BLOCKS = 2000, 20
SENTINEL = 7.25
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
HALF_EPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
"""The relative error of the one rounding."""
SMALLEST = {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149, "float64": 2.0**-1074}

LOGITS = ("float16", "bfloat16", "float32", "float32", "float64", "float64", "int16")
PROBABILITIES = ("float16", "float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64", "float32", "float64", ">i4", ">f8")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
LAYOUTS = ("C", "C", "F", "permuted", "strided", "reversed")


# Random combinations


def laid_out(rng, a):
    """The numbers of `a` in a random layout of memory."""
    layout = rng.choice(LAYOUTS)
    if layout == "F":
        return np.array(a, order="F")
    if layout == "permuted":
        order = rng.permutation(a.ndim)
        return np.array(a.transpose(order), order="C").transpose(np.argsort(order))
    if layout == "strided":
        view = np.zeros([2 * n for n in a.shape], a.dtype)[(..., *[slice(None, None, 2)] * a.ndim)]
    elif layout == "reversed":
        view = np.zeros_like(a)[(..., *[slice(None, None, -1)] * a.ndim)]
    else:
        return np.array(a, order="C")
    view[...] = a
    return view


def per_row(rng, rows, low, high):
    """Numbers in an array that broadcasts to the rows, or one number."""
    if rng.random() < 0.3:
        return rng.uniform(low, high)
    shape = tuple(n if rng.random() < 0.8 else 1 for n in rows)
    return laid_out(rng, np.asarray(rng.uniform(low, high, shape)))


def draw_labels(rng, shape, n, ignores):
    """(labels of a random dtype, the options that go with them)."""
    signed = rng.random() < 0.7
    labels, options = rng.integers(0, n, shape), {}
    if ignores:
        choices = (None, -100, -1, n, 0) if signed else (None, 100, n, 0)
        options["ignore_index"] = choices[rng.integers(len(choices))]
        if options["ignore_index"] is not None:
            labels = np.where(rng.random(shape) < 0.3, options["ignore_index"], labels)
    return laid_out(rng, np.asarray(labels).astype(rng.choice(SIGNED if signed else UNSIGNED))), options


def draw_target(rng, shape, axis):
    """(target, the options that go with it)."""
    rows, n, kind = np.delete(shape, axis).tolist(), shape[axis], rng.choice(["index", "index", "soft", "sparse"])
    if kind == "index":
        return draw_labels(rng, [m if rng.random() < 0.9 else 1 for m in rows], n, rng.random() < 0.5)
    if kind == "sparse":
        index, options = draw_labels(rng, [*rows, int(rng.integers(1, 5))], n, rng.random() < 0.5)
        return (index, rng.normal(size=index.shape).astype(rng.choice(["float32", "float64"]))), options
    soft = [rng.normal(size=shape), rng.random(shape), rng.integers(0, 3, shape)][rng.integers(3)]
    dtypes = PROBABILITIES if soft.dtype.kind == "f" else ("int8", "uint64", "bool")
    return laid_out(rng, soft.astype(rng.choice(dtypes))), {}


def draw_options(rng, rows, n):
    """Each option in two of five cases."""
    options = {}

    def sometimes(name, value):
        if rng.random() < 0.4:
            options[name] = value()

    sometimes("weight", lambda: laid_out(rng, rng.uniform(0.1, 3, n).astype(rng.choice(["float32", "float64"]))))
    sometimes("sample_weight", lambda: per_row(rng, rows, -2, 2))
    sometimes("label_smoothing", lambda: rng.choice([0.1, 0.5, 1.0]))
    sometimes("z_loss", lambda: rng.choice([1e-4, 0.01, 0.5]))
    sometimes("softcap", lambda: rng.choice([2.0, 15.0, 30.0]))
    sometimes("temperature", lambda: per_row(rng, rows, 0.3, 3))
    sometimes("reduction", lambda: str(rng.choice(["none", "sum", "mean"])))
    if options.get("reduction", "mean") == "mean":
        sometimes("normalizer", lambda: rng.uniform(0.5, 20))
    return options


def draw(seed, dtype=None, sides=(0, 1, 2, 3, 7)):
    """One combination: logits, target, axis, options."""
    rng = np.random.default_rng([seed, 5])
    ndim = int(rng.integers(1, 5))
    shape, axis = rng.choice(sides, ndim).tolist(), int(rng.integers(-ndim, ndim))
    shape[axis] = int(rng.choice([1, 2, 3, 5, 10, 17, 40]) if dtype is None else rng.integers(1, 6))
    x = rng.normal(size=shape, scale=rng.choice([1, 4, 10])).astype(dtype or rng.choice(LOGITS))
    target, of_target = draw_target(rng, shape, axis)
    options = of_target | draw_options(rng, tuple(np.delete(shape, axis)), shape[axis])
    return SimpleNamespace(x=laid_out(rng, x), target=target, axis=axis, options=options, rng=rng)


def hide_ignored(case):
    """NaN in the rows that are never read."""
    if case.x.dtype.kind == "i" or not (isinstance(case.target, tuple) or np.ndim(case.target) < case.x.ndim):
        return
    shape = np.moveaxis(case.x, case.axis, -1).shape
    *_, counts, _ = vectorised.dense(case.target, shape, case.options.get("ignore_index", -100))
    case.x[np.broadcast_to(np.expand_dims(~counts, case.axis), case.x.shape)] = np.nan


def check_combination(csm, seed):
    case = draw(seed)
    hide_ignored(case)
    x, rng = case.x, case.rng
    expected = vectorised.cross_entropy(x, case.target, case.axis, **case.options)
    result = np.dtype("float64") if x.dtype.kind == "i" else x.dtype
    computed = np.dtype("float64") if result == np.float64 else np.dtype("float32")
    given = x.copy(order="K")

    out = None
    if rng.random() < 0.3:
        out = laid_out(rng, np.full(x.shape, SENTINEL, rng.choice([result.name, "float32", "float64"])))
    elif rng.random() < 0.4 and x.dtype.kind != "i":
        out = x
    loss = csm.cross_entropy(x, case.target, case.axis, **case.options)
    both, gradient = csm.cross_entropy(x, case.target, case.axis, return_grad=True, out=out, **case.options)

    eps = 16 * EPS[computed.name]
    for found in (loss, both):
        assert found.dtype == computed
        if np.isnan(expected.loss).any():
            assert np.isnan(found)
        else:
            allowed = eps * expected.size_of_loss + SMALLEST[computed.name]
            np.testing.assert_array_less(abs(found - expected.loss), 2 * allowed)
    if out is None:
        assert gradient.dtype == result
        assert gradient.strides == np.empty_like(x, dtype=result).strides
    else:
        assert gradient is out
    if out is not x:
        assert x.tobytes() == given.tobytes()
    stored = max((result.name, gradient.dtype.name), key=lambda name: HALF_EPS.get(name, EPS.get(name)))
    rounding = HALF_EPS.get(stored, EPS.get(stored, 0.0))
    allowed = eps * expected.size_of_gradient + rounding * abs(expected.gradient) + SMALLEST[stored]
    np.testing.assert_array_less(abs(gradient.astype(np.float64) - expected.gradient), 2 * allowed)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_combinations(csm, block):
    for seed in range(block, COMBINATIONS, BLOCKS):
        try:
            check_combination(csm, seed)
        except Exception as error:
            case = draw(seed)
            error.add_note(
                f"combination {seed}: {case.x.dtype} logits of shape {case.x.shape}, axis {case.axis}, "
                f"target {case.target!r}, options {case.options}"
            )
            raise


@pytest.mark.parametrize("block", range(4))
def test_random_combinations_against_differences(csm, block):
    for seed in range(block, 80, 4):
        case = draw(seed, dtype="float64", sides=(1, 2, 3))
        _, gradient = csm.cross_entropy(case.x, case.target, case.axis, return_grad=True, **case.options)

        def total(v, case=case):
            return np.sum(csm.cross_entropy(v, case.target, case.axis, **case.options))

        size = vectorised.cross_entropy(case.x, case.target, case.axis, **case.options).size_of_gradient
        if np.isnan(total(case.x)):
            np.testing.assert_array_equal(gradient, 0)
            continue
        measured = gradient_by_differences(total, np.ascontiguousarray(case.x))
        np.testing.assert_allclose(
            gradient,
            measured,
            rtol=1e-6,
            atol=1e-7 * (1 + size.max(initial=0)),
            err_msg=f"combination {seed}: {case.options}",
        )


@pytest.mark.parametrize("seed", range(60))
def test_two_references_agree(seed):
    """The vectorised reference and the one in pure Python, which were written apart."""
    case = draw(seed, dtype="float64", sides=(1, 2, 3))
    rows, options = tuple(np.delete(case.x.shape, case.axis)), dict(case.options)
    x = np.moveaxis(case.x, case.axis, -1)
    targets = case.target
    if isinstance(targets, tuple):
        index, q = (a.astype(np.float64).reshape(-1, a.shape[-1]).tolist() for a in targets)
        targets = list(zip(index, q, strict=True))
        targets = [([int(k) for k in index], q) for index, q in targets]
    elif np.ndim(targets) == x.ndim:
        targets = np.moveaxis(targets, case.axis, -1).reshape(-1, x.shape[-1]).astype(np.float64).tolist()
    else:
        targets = np.broadcast_to(targets, rows).astype(np.int64).ravel().tolist()
    for name in ("sample_weight", "temperature"):
        if name in options:
            options[name] = np.broadcast_to(options[name], rows).ravel().tolist()
    if "weight" in options:
        options["weight"] = options["weight"].tolist()
    loss, gradient = reference.cross_entropy(x.reshape(-1, x.shape[-1]).tolist(), targets, **options)
    expected = vectorised.cross_entropy(case.x, case.target, case.axis, **case.options)
    same(np.reshape(loss, np.shape(expected.loss)), expected.loss, 1 + expected.size_of_loss.max(initial=0))
    gradient = np.reshape(gradient, x.shape)
    same(np.moveaxis(gradient, -1, case.axis), expected.gradient, 1 + expected.size_of_gradient.max(initial=0))


# Laws


def batch(rows=6, n=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=3.0, size=(rows, n)), rng.integers(0, n, rows), rng.random((rows, n))


def sparse(rows=6, n=5, k=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, n, (rows, k)), rng.random((rows, k))


def targets(kind):
    _, labels, soft = batch()
    return {"index": labels, "soft": soft, "sparse": sparse()}[kind]


def full(csm, x, target, **options):
    return csm.cross_entropy(x, target, return_grad=True, **options)


def same_results(actual, expected, scale=10.0):
    for a, b in zip(actual, expected, strict=True):
        same(a, b, scale)


every_kind = pytest.mark.parametrize("kind", ["index", "soft", "sparse"])
EVERYTHING = {
    "weight": np.linspace(0.5, 2, 5),
    "sample_weight": np.linspace(-1, 2, 6),
    "label_smoothing": 0.1,
    "z_loss": 0.01,
    "softcap": 20.0,
    "temperature": np.linspace(0.5, 2, 6),
}


@every_kind
@pytest.mark.parametrize(
    "neutral",
    [
        {"weight": np.ones(5)},
        {"sample_weight": np.ones(6)},
        {"sample_weight": 1},
        {"label_smoothing": 0},
        {"z_loss": 0},
        {"softcap": None},
        {"temperature": np.ones(6)},
        {"temperature": np.ones(())},
        {"temperature": 1},
        {"normalizer": 6.0},
        {"normalizer": None},
        {"ignore_index": None},
    ],
    ids=str,
)
def test_neutral_values(csm, kind, neutral):
    x, _, _ = batch()
    same_results(full(csm, x, targets(kind), **neutral), full(csm, x, targets(kind)))


@every_kind
def test_rows_without_weight(csm, kind):
    """A sample weight of 0 takes a row out, but not out of the mean's divisor."""
    x, _, _ = batch()
    s = np.array([1.0, 0, 2, 0, 1, 1])
    others = {k: v for k, v in EVERYTHING.items() if k != "sample_weight"}
    loss, gradient = full(csm, x, targets(kind), reduction="none", **others | {"sample_weight": s})
    plain, plain_gradient = full(csm, x, targets(kind), reduction="none", **others)
    np.testing.assert_array_equal(loss[s == 0], 0)
    np.testing.assert_array_equal(gradient[s == 0], 0)
    same(loss, s * plain, 10.0)
    same(gradient, s[:, None] * plain_gradient, 10.0)
    mean = csm.cross_entropy(x, targets(kind), sample_weight=s)
    same(mean, csm.cross_entropy(x, targets(kind), sample_weight=s, reduction="sum") / 6, 10.0)


@every_kind
@pytest.mark.parametrize("factor", [-1.0, 0.25, 3.0])
def test_losses_scale_with_weights(csm, kind, factor):
    x, _, _ = batch()
    loss, gradient = full(csm, x, targets(kind), reduction="sum", **EVERYTHING)
    scaled = EVERYTHING | {"sample_weight": factor * EVERYTHING["sample_weight"]}
    same_results(full(csm, x, targets(kind), reduction="sum", **scaled), (factor * loss, factor * gradient), 100.0)
    if factor > 0:
        without_z = EVERYTHING | {"z_loss": 0}
        loss, gradient = full(csm, x, targets(kind), reduction="sum", **without_z)
        scaled = without_z | {"weight": factor * EVERYTHING["weight"]}
        same_results(full(csm, x, targets(kind), reduction="sum", **scaled), (factor * loss, factor * gradient), 100.0)


def test_mean_divides_by_the_weights_of_labels(csm):
    """The mean of index targets does not change with the scale of class weights; other means do."""
    x, labels, soft = batch()
    labels[2] = -100
    w = np.linspace(0.5, 2, 5)
    loss, gradient = full(csm, x, labels, weight=w)
    same_results(full(csm, x, labels, weight=4 * w), (loss, gradient))
    summed = csm.cross_entropy(x, labels, weight=w, reduction="sum")
    same(loss, summed / w[labels[labels >= 0]].sum(), 10.0)
    for target in (soft, sparse()):
        rows = csm.cross_entropy(x, target, weight=w, reduction="none")
        same(csm.cross_entropy(x, target, weight=w), rows.sum() / 6, 10.0)


@every_kind
def test_normalizer(csm, kind):
    x, _, _ = batch()
    loss, gradient = full(csm, x, targets(kind), reduction="sum", **EVERYTHING)
    for divisor in (0.5, 7, -3, 2.5, np.float32(3), np.float64(7), np.array(2.0)):
        expected = loss / float(divisor), gradient / float(divisor)
        same_results(full(csm, x, targets(kind), normalizer=divisor, **EVERYTHING), expected, 100.0)


def test_sparse_is_dense(csm):
    x, _, _ = batch()
    index, q = sparse()
    soft = np.zeros_like(x)
    np.add.at(soft, (np.arange(6)[:, None], index), q)
    for reduction in ("none", "sum", "mean"):
        options = EVERYTHING | {"reduction": reduction}
        same_results(full(csm, x, (index, q), **options), full(csm, x, soft, **options), 50.0)
    along_first = full(csm, x.T, (index, q), axis=0, reduction="none")
    same_results(along_first, [a.T for a in full(csm, x, (index, q), reduction="none")], 50.0)


def test_equal_labels_add(csm):
    x, labels, _ = batch()
    twice = np.stack([labels, labels], axis=1), np.tile([0.75, 0.5], (6, 1))
    once = labels[:, None], np.full((6, 1), 1.25)
    same_results(full(csm, x, twice, reduction="none"), full(csm, x, once, reduction="none"))
    same_results(full(csm, x, (labels[:, None], np.ones((6, 1)))), full(csm, x, labels))


def test_padding(csm):
    """Padded slots count for nothing, whatever their probability; rows of padding alone are ignored."""
    x, _, _ = batch()
    index, q = sparse()
    padded = np.insert(index, 1, -100, axis=1), np.insert(q, 1, np.nan, axis=1)
    same_results(full(csm, x, padded, **EVERYTHING), full(csm, x, (index, q), **EVERYTHING))
    index[[1, 4]], hidden, kept = -100, x.copy(), [0, 2, 3, 5]
    hidden[[1, 4]] = np.nan
    options = {"label_smoothing": 0.1, "z_loss": 0.01}
    rows, gradient = full(csm, hidden, (index, q), reduction="none", **options)
    np.testing.assert_array_equal(rows[[1, 4]], 0)
    np.testing.assert_array_equal(gradient[[1, 4]], 0)
    same_results((rows[kept], gradient[kept]), full(csm, x[kept], (index[kept], q[kept]), reduction="none", **options))
    same(csm.cross_entropy(hidden, (index, q), **options), rows.sum() / 4)


def test_smoothing_to_the_full(csm):
    """label_smoothing=1 leaves the uniform target, whatever the labels."""
    x, labels, soft = batch()
    uniform = full(csm, x, np.full_like(x, 1 / 5))
    for target in (labels, (labels + 1) % 5, soft, sparse()):
        same_results(full(csm, x, target, label_smoothing=1.0), uniform)


def test_softcap_bounds_the_logits(csm):
    x, labels, _ = batch()
    same(csm.cross_entropy(1e6 * np.sign(x), labels, softcap=3.0), csm.cross_entropy(3 * np.sign(x), labels))
    loss, gradient = full(csm, x, labels, softcap=3.0, reduction="none")
    same(loss, csm.cross_entropy(3 * np.tanh(x / 3), labels, reduction="none"), 10.0)
    assert (abs(gradient) < abs(full(csm, 3 * np.tanh(x / 3), labels, reduction="none")[1])).all()


@every_kind
def test_options_broadcast_to_the_rows(csm, kind):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 5, 3))
    target = {
        "index": rng.integers(0, 5, (2, 3)),
        "soft": rng.random(x.shape),
        "sparse": (rng.integers(0, 5, (2, 3, 2)), rng.random((2, 3, 2))),
    }[kind]
    for shape in ((), (1,), (3,), (2, 1), (1, 3), (2, 3)):
        s, t = rng.normal(size=shape), rng.uniform(0.5, 2, shape)
        wide = {"sample_weight": np.broadcast_to(s, (2, 3)).copy(), "temperature": np.broadcast_to(t, (2, 3)).copy()}
        narrow = full(csm, x, target, axis=1, sample_weight=s, temperature=t, reduction="none")
        same_results(narrow, full(csm, x, target, axis=1, reduction="none", **wide), 10.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@every_kind
def test_nothing_counts_with_any_option(csm, kind, dtype):
    """The mean of no rows is nan, 0 with a normalizer; its gradient zeros."""
    x = np.full((3, 5), np.nan, dtype)
    target = {"index": np.full(3, -100), "sparse": (np.full((3, 2), -100), np.ones((3, 2)))}.get(kind)
    if kind == "soft":
        x, target = x[:0], np.ones((0, 5))
    options = {"label_smoothing": 0.1, "z_loss": 0.1, "softcap": 3.0, "weight": np.ones(5)}
    for given in ({}, options):
        loss, gradient = full(csm, x, target, **given)
        assert np.isnan(loss) and gradient.dtype == dtype
        np.testing.assert_array_equal(gradient.astype(np.float64), 0)
        loss, gradient = full(csm, x, target, normalizer=2.0, **given)
        assert loss == 0
        np.testing.assert_array_equal(gradient.astype(np.float64), 0)
        assert csm.cross_entropy(x, target, reduction="sum", **given) == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_logits_of_minus_infinity(csm, dtype):
    """At a logit of -inf, c = 0 contributes 0 and the gradient is 0; a positive c makes the loss inf."""
    x = np.array([[1.0, -np.inf, 0.5], [0.0, 1.0, -np.inf]], dtype)
    labels, soft = np.array([0, 1]), np.array([[0.5, 0, 0.5], [0.25, 0.75, 0]])
    pair = np.array([[0, 2], [1, 0]]), np.full((2, 2), 0.5)
    options = {"weight": np.ones(3), "sample_weight": np.ones(2), "z_loss": 0.01, "temperature": np.ones(2)}
    for target in (labels, soft, pair):
        for given in ({}, options):
            loss, gradient = full(csm, x, target, reduction="none", **given)
            assert np.isfinite(loss).all() and (loss > 0).all()
            np.testing.assert_array_equal(gradient[x == -np.inf].astype(np.float64), 0)
        assert csm.cross_entropy(x, target, label_smoothing=0.1) == np.inf
    for target in (np.array([1, 2]), x == -np.inf, (np.array([[1], [2]]), np.ones((2, 1)))):
        np.testing.assert_array_equal(csm.cross_entropy(x, target, reduction="none"), np.inf)


def test_gradient_of_any_function_of_the_target(csm):
    """The focal loss -(1 - p)^2 log p, without a formula for its gradient by the logits."""
    z, y, _ = batch()

    def focal(v):
        lp = csm.selective_log_softmax(v, y)
        return np.sum(-((1 - np.exp(lp)) ** 2) * lp)

    lp = csm.selective_log_softmax(z, y)
    slope = -((1 - np.exp(lp)) ** 2) + 2 * (1 - np.exp(lp)) * np.exp(lp) * lp
    measured, x = gradient_by_differences(focal, z), z.copy()
    _, gradient = csm.cross_entropy(z, y, sample_weight=-slope, reduction="sum", return_grad=True, out=z)
    assert gradient is z
    near(gradient, measured)
    assert not np.array_equal(x, z)


@every_kind
def test_no_warning(csm, kind):
    x = np.array([[1e30, -1e30, np.inf, np.nan, -np.inf], [0.0] * 5] * 3).astype(np.float32)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        full(csm, x, targets(kind), **EVERYTHING)
