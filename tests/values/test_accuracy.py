"""Every output is right to the bounds of limits.py, on every instruction set.

The truth is computed in extended precision (limits.py), which is first held against mpmath at 200 bits.
The worst errors go to `limits.MEASURED`; `limits.table(limits.MEASURED)` shows them beside the bounds.
"""

import cases
import limits
import numpy as np
import pytest
from mpmath import mp, mpf

pytestmark = pytest.mark.skipif(limits.EXTENDED_BITS < 64, reason="needs a long double wider than double")


def check(measured):
    worst = limits.worst(measured)
    limits.MEASURED.extend(worst)
    wrong = [
        f"{m.output} on {m.isa}: {m.worst:.4g} ULP, bound {m.bound}; {m.witness}" for m in worst if m.worst > m.bound
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("variant", cases.VARIANTS)
def test_within_bounds(csm, variant, dtype, layout):
    check([m for b in cases.plan(variant, dtype) for m in limits.measure(csm, variant, b, layout)])


@pytest.fixture
def half(request):
    """The name of a 16-bit dtype."""
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes")
    return request.param


every_half = pytest.mark.parametrize("half", cases.HALVES, indirect=True)


@every_half
@pytest.mark.parametrize("variant", cases.VARIANTS)
def test_halves_within_bounds(csm, variant, half):
    batches = cases.plan(variant, half)
    check([m for b in batches for layout in ("rows", "columns") for m in limits.measure(csm, variant, b, layout)])


@np.errstate(invalid="ignore")  # NumPy on aarch64 warns where it casts NaN
@every_half
@pytest.mark.parametrize("partners", [(), (0.0,), (1.0, -2.5), (7.0, 7.0, 6.5), (-16.0, -90.0)])
def test_halves_exhaustively(csm, half, partners):
    """Each of the 65,536 numbers beside a few others, where it gives a row that has a softmax."""
    patterns = np.arange(2**16, dtype=np.uint16).view(half)
    x = np.empty((2**16, 1 + len(partners)), half)
    x[:, 0], x[:, 1:] = patterns, np.array(partners, half)
    top = x.astype(np.float32).max(axis=1)
    x = x[np.isfinite(top)]
    b = cases.Batch(x, np.arange(len(x)) % x.shape[1], x, x, x, 1.0, ("every number",) * len(x))
    for variant in (
        "softmax",
        "log_softmax",
        "logsumexp",
        "softmax_entropy",
        "selective_log_softmax",
        "loss and gradient, index",
    ):
        check(limits.measure(csm, variant, b))
    if partners:
        check(limits.measure(csm, "grad_hess, upper", b))


@np.errstate(invalid="ignore")  # NumPy on aarch64 warns where it casts NaN
@every_half
def test_halves_without_softmax(csm, half):
    """The rows that the exhaustive test leaves out: NaN beside any number, +inf, -inf alone."""
    patterns = np.arange(2**16, dtype=np.uint16).view(half)
    wide = patterns.astype(np.float32)
    x = np.stack([patterns, np.zeros(2**16, half)], axis=1)
    no_softmax = np.isnan(wide) | (wide == np.inf)
    for result in (csm.softmax(x), csm.log_softmax(x)):
        np.testing.assert_array_equal(np.isnan(result.astype(np.float32)).all(axis=1), no_softmax)
    sums = csm.logsumexp(x, axis=-1).astype(np.float32)
    np.testing.assert_array_equal(np.isnan(sums), np.isnan(wide))
    np.testing.assert_array_equal(sums == np.inf, wide == np.inf)
    lowest = np.full((1, 3), -np.inf, half)
    assert np.isnan(csm.softmax(lowest).astype(np.float32)).all()
    assert csm.logsumexp(lowest) == -np.inf


FEW_ROWS = ("softmax_jacobian", *cases.REDUCED, *cases.GRAD_HESS, *cases.OPTIONAL[:5], "sparse, no option")
ALONG_ROWS = [v for v in cases.VARIANTS if v not in FEW_ROWS]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("variant", ALONG_ROWS)
def test_long_rows(csm, variant, dtype):
    check(limits.measure(csm, variant, cases.batch(dtype, 2**17, families=cases.LONG_FAMILIES)))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("variant", ALONG_ROWS)
def test_very_long_rows(csm, variant, dtype, layout):
    check(limits.measure(csm, variant, cases.batch(dtype, 2**20, families=cases.LONG_FAMILIES), layout))


@pytest.mark.slow
@pytest.mark.parametrize("low", [-312, -208, -104, 0, 104])
def test_exponential_exhaustively(csm, low):
    """Every float32 of the range that the kernels do not shift by m, against the maximum low + 104.

    Below 2^-24 the exponential is 1. float64 is truth enough here: it adds 2^-28 ULP.
    """
    high, found = np.float32(low + 104), []
    near, far = sorted(np.abs(np.float32([low, high])))
    first, last = (int(v.view(np.int32)) for v in (max(near, np.float32(2**-24)), far))
    for start in range(first, last + 1, 2**21):
        x = np.arange(start, min(start + 2**21, last + 1), dtype=np.int32).view(np.float32)
        x = np.copysign(x, np.float32(low))
        result = csm.softmax(np.stack([x, np.full_like(x, high)], axis=1))[:, 0]
        e = np.exp(x.astype(np.float64) - high)
        error = limits.errors(result, limits.Truth(e / (1 + e)))
        found.append((error.max(), x[error.argmax()]))
    worst, x = max(found)
    assert worst <= limits.LIMITS["softmax"].float32, f"{worst} ULP at softmax([{x!r}, {high!r}])"


def definitions(b, i):
    """The outputs for row i of a batch by their definitions, as {output: object array of mpf}."""
    x, c, p, g = (np.array([mpf(float(v)) for v in a[i]]) for a in (b.x, b.soft, b.p, b.g))
    t, m, label = mpf(b.temperature), x.max(), np.arange(len(x)) == b.labels[i]
    e = np.array([mp.exp((v - m) / t) for v in x])
    s = e.sum()
    log_s = mp.log1p(np.delete(e, x.argmax()).sum())
    log_p = (x - m) / t - log_s
    likely = p.argmax()
    complement = 1 - p
    if p[likely] > 0.5:
        complement[likely] = np.delete(p, likely).sum()
    jacobian = -np.outer(p, p)
    np.fill_diagonal(jacobian, p * complement)
    pivoted = g - (g[likely] if p[likely] >= 0.5 else 0)
    before, after = (np.cumsum([mpf(0), *v[:-1]]) for v in (e, e[::-1]))
    complement_of_p = (before + after[::-1]) / s
    hessian = e / s * complement_of_p
    d, p_of_x = np.where(e == 0, 0, (m - x) / t), e / s

    def slope(v):
        return p_of_x * (v - (p_of_x * v).sum()) / t

    values = {kind: np.array([mpf(float(v)) for v in a]) for kind, a in (("of rows", g), ("of classes", b.weight))}
    return {
        **{f"softmax_expectation, {kind}": (p_of_x * v).sum() for kind, v in values.items()},
        **{f"gradient, expectation {kind}": slope(v - max(v[x == m])) for kind, v in values.items()},
        "top_k_log_softmax": sorted(log_p)[-min(cases.MOST, len(x))],
        "softmax_entropy": -(e / s * np.where(e == 0, 0, log_p)).sum(),
        "gradient, entropy": p_of_x * (d - (p_of_x * d).sum()) / t,
        "selective_log_softmax": log_p[label][0],
        "hessian, diagonal": hessian,
        "hessian, upper": 2 * hessian,
        "hessian, friedman": hessian * len(x) / max(len(x) - 1, 1),
        "hessian, residual": np.where(label, complement_of_p, e / s),
        "softmax": e / s,
        "log_softmax": log_p,
        "logsumexp": m + log_s,
        "logsumexp, b": m + mp.log(abs((g * e).sum())),
        "softmax_jacobian": jacobian / t,
        "softmax_vjp": p * (pivoted - (p * pivoted).sum()) / t,
        "log_softmax_vjp": (g - p * g.sum()) / t,
        "log_softmax_jvp": (pivoted - (p * pivoted).sum()) / t,
        "loss, index, none": -log_p[label][0],
        "loss, soft, none": -(c * np.where(c == 0, 0, log_p)).sum(),
        "gradient, index, none": e / s / t,
        "gradient, index, none, own entry": np.where(label, -e[~label].sum() / s / t, 0),
        "gradient, soft, none": (c.sum() * e / s - c) / t,
    }


def divergence_definitions(b, i):
    """KL and its gradient for row i of a batch; probabilities of e^-745 beside 1 need their digits."""
    x, other, t = (np.array([mpf(float(v)) for v in a]) for a in (b.x[i], b.logits[i], [b.temperature]))
    e = np.array([mp.exp((v - x.max()) / t[0]) for v in x])
    p, d = e / e.sum(), (x - other) / t[0]
    shift = (p * d).sum() - d
    divergence = mp.log1p(mp.fsum(u * (mp.expm1(v) - v) for u, v in zip(p, shift, strict=True)))
    slopes = [u * mp.expm1(v - divergence) / t[0] for u, v in zip(p, shift, strict=True)]
    return {"kl_divergence": divergence, "gradient, KL": np.array(slopes)}


def optional_definitions(b, i, kind, option):
    """Loss and gradient of row i with an option of cases.OPTIONS by their definition."""
    options, n, t = cases.OPTIONS[option](b), b.x.shape[1], mpf(b.temperature)
    where = options.get("where", np.ones(b.x.shape, bool))[i].tolist()
    x = [mpf(float(v)) for v in b.x[i]]
    target = [mpf(float(v)) for v in b.soft[i]]
    if kind == "index":
        target = [mpf(int(j == b.labels[i])) for j in range(n)]
    if kind == "sparse":
        slots = list(zip(*(a[i].tolist() for a in b.sparse), strict=True))
        target = [mpf(sum(mpf(q) for k, q in slots if k == j)) for j in range(n)]
        if all(k == -100 for k, _ in slots):
            return mpf(0), [mpf(0)] * n
    smoothing, z = mpf(options.get("label_smoothing", 0)), mpf(options.get("z_loss", 0))
    weight = options.get("weight", np.ones(n)).tolist()
    s = mpf(float(options.get("sample_weight", np.ones(len(b.x)))[i]))
    c = [mpf(weight[j]) * ((1 - smoothing) * target[j] + where[j] * smoothing / sum(where)) for j in range(n)]
    slope = [mpf(1)] * n
    if "softcap" in options:
        cap = mpf(options["softcap"])
        slope = [mp.sech(v / cap) ** 2 for v in x]
        x = [cap * mp.tanh(v / cap) for v in x]
    m = max(v for v, part in zip(x, where, strict=True) if part)
    e = [mp.exp((v - m) / t) * part for v, part in zip(x, where, strict=True)]
    log_s = mp.log1p(sum(v for j, v in enumerate(e) if j != e.index(1)))
    lse = m / t + log_s
    loss = s * (sum(a * (log_s + (m - v) / t) for a, v in zip(c, x, strict=True)) + z * lse**2)

    if option in cases.FOCAL:
        label, gamma = int(b.labels[i]), mpf(cases.FOCAL[option])
        own, rest, plain = e[label] / sum(e), mp.fsum(e[:label] + e[label + 1 :]) / sum(e), log_s + (m - x[label]) / t
        loss *= rest**gamma
        s *= rest**gamma + gamma * rest ** (gamma - 1) * own * plain if rest else 0

    def gradient(j):
        others, rest = (mp.fsum(v[:j] + v[j + 1 :]) for v in (c, e))
        return s * ((others + 2 * z * lse) * e[j] - c[j] * rest) / sum(e) / t * slope[j]

    return loss, [gradient(j) for j in range(n)]


def distance(value, exact, dtype, size=None):
    """|value - exact| in ULP of `size`, or of the exact value."""
    unit = limits.ulp(limits.EXTENDED(float(abs(exact))) if size is None else size, dtype)
    return 0 if value == exact else abs(mp.convert(value) - exact) / mp.convert(unit)


def check_truths(truths, exact, b, i):
    """Row i of each truth is within 0.01 ULP of float64 of what is exact."""
    for output, truth in truths.items():
        triples = zip(*map(np.ravel, (truth.value[i], exact[output], truth.size[i])), strict=True)
        error = max(distance(v, w, "float64", size) for v, w, size in triples)
        assert error < 0.01, f"{output}, row {i} ({b.families[i]}): {float(error)}"


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("n", "temperature"), [(1, 1), (2, 1), (7, 0.1), (7, 3e4), (12, 1e-3), (33, 1)])
def test_truth_against_mpmath(dtype, n, temperature):
    """The extended precision truth is right to 0.01 ULP of float64, also where float32 is measured."""
    b = cases.batch(dtype, n, temperature)
    outputs = definitions(b, 0).keys() - ({"logsumexp", "logsumexp, b"} if temperature != 1 else set())
    truths = {output: limits.TRUTHS[output](b) for output in outputs}
    with mp.workprec(200):
        for i in range(0, len(b.x), 7 if n < 16 else 2):
            exact = definitions(b, i)
            check_truths(truths, exact, b, i)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("n", "temperature"), [(1, 1), (2, 1), (7, 0.1), (7, 3e4), (12, 1e-3), (33, 1)])
def test_truth_of_divergences_against_mpmath(dtype, n, temperature):
    b = cases.batch(dtype, n, temperature, tuple(family for family in cases.FAMILIES if family != "masked"))
    truths = {output: limits.TRUTHS[output](b) for output in ("kl_divergence", "gradient, KL")}
    with mp.workprec(3000):
        for i in range(0, len(b.x), 7 if n < 16 else 23):
            exact = divergence_definitions(b, i)
            check_truths(truths, exact, b, i)


@pytest.mark.parametrize(("kind", "option"), cases.LOSSES)
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_truth_of_options_against_mpmath(dtype, kind, option):
    for n, temperature in [(2, 1.0), (7, 0.1)]:
        b = cases.batch(dtype, n, temperature, cases.OPTION_FAMILIES)
        loss, gradient = (limits.TRUTHS[f"{output}, {kind}, {option}"](b) for output in ("loss", "gradient"))
        with mp.workprec(300):
            for i in range(0, len(b.x), 11):
                exact_loss, exact_gradient = optional_definitions(b, i, kind, option)
                given = [
                    (loss.value[i], exact_loss, loss.size[i]),
                    *zip(gradient.value[i], exact_gradient, gradient.size[i], strict=True),
                ]
                error = max(distance(v, w, "float64", size) for v, w, size in given)
                assert error < 0.02, f"row {i} ({b.families[i]}) of length {n}"


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_truth_of_long_rows(dtype):
    b = cases.batch(dtype, 4096)
    with mp.workprec(200):
        for i in range(0, len(b.x), 2):
            x = [mpf(float(v)) for v in b.x[i]]
            m = max(x)
            exact = mp.fsum(mp.exp(v - m) for v in x)
            assert distance(limits.rows(b).s[i, 0], exact, "float64") < 0.01, b.families[i]


@pytest.mark.parametrize("margin", [0, *cases.MARGINS])
@pytest.mark.parametrize("classes", [2, 3, 20])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_confident_row(csm, dtype, classes, margin):
    """Loss and own gradient entry of a row that is right by a margin: m - log s and p - 1 would give 0."""
    x = np.zeros((1, classes), dtype)
    x[0, 0] = margin
    loss, gradient = csm.cross_entropy(x, [0], reduction="none", return_grad=True)
    with mp.workprec(200):
        rest = (classes - 1) * mp.exp(-margin)
        exact_loss, exact_own = mp.log1p(rest), -rest / (1 + rest)
        assert distance(loss[0], exact_loss, dtype) <= 4
        assert distance(csm.log_softmax(x)[0, 0], -exact_loss, dtype) <= 4
        assert distance(gradient[0, 0], exact_own, dtype) <= 4


@pytest.mark.parametrize("offset", [0, *cases.OFFSETS])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_common_offset(csm, dtype, offset):
    """At 1e8 multiples of 8 keep their differences in float32; x - logsumexp(x) is off by whole units."""
    row = [0, 8, 24, 16, -80]
    x = np.array([row], dtype) + np.array(offset, dtype)
    log_p, loss = csm.log_softmax(x)[0], csm.cross_entropy(x, [1], reduction="none")[0]
    with mp.workprec(200):
        log_s = mp.log(sum(mp.exp(v) for v in row))
        for v, exact in zip([*log_p, loss], [*(v - log_s for v in row), log_s - 8], strict=True):
            assert distance(v, exact, dtype) <= 4


@pytest.mark.parametrize("n", [2**17, 100_003])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_long_equal_row(csm, dtype, n):
    """A sum of n ones kept in one float32 accumulator with a rounded exponential would drift by 200 ULP."""
    p = csm.softmax(np.full((1, n), 3.7, dtype))
    with mp.workprec(200):
        assert max(distance(v, mpf(1) / n, dtype) for v in np.unique(p)) <= 3
