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
    wrong = [f"{m.output} on {m.isa}: {m.worst:.4g} ULP, bound {m.bound}; {m.witness}"
             for m in worst if m.worst > m.bound]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("variant", cases.VARIANTS)
def test_within_bounds(csm, variant, dtype, layout):
    check([m for b in cases.plan(variant, dtype) for m in limits.measure(csm, variant, b, layout)])


ALONG_ROWS = [v for v in cases.VARIANTS if v != "softmax_jacobian" and v not in cases.REDUCED]


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
    return {
        "softmax": e / s,
        "log_softmax": log_p,
        "logsumexp": m + log_s,
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


def distance(value, exact, dtype, size=None):
    """|value - exact| in ULP of `size`, or of the exact value."""
    unit = limits.ulp(limits.EXTENDED(float(abs(exact))) if size is None else size, dtype)
    return 0 if value == exact else abs(mp.convert(value) - exact) / mp.convert(unit)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("n", "temperature"), [(1, 1), (2, 1), (7, 0.1), (7, 3e4), (12, 1e-3), (33, 1)])
def test_truth_against_mpmath(dtype, n, temperature):
    """The extended precision truth is right to 0.01 ULP of float64, also where float32 is measured."""
    b = cases.batch(dtype, n, temperature)
    outputs = definitions(b, 0).keys() - ({"logsumexp"} if temperature != 1 else set())
    truths = {output: limits.TRUTHS[output](b) for output in outputs}
    with mp.workprec(200):
        for i in range(0, len(b.x), 7 if n < 16 else 2):
            exact = definitions(b, i)
            for output, truth in truths.items():
                triples = zip(*map(np.ravel, (truth.value[i], exact[output], truth.size[i])), strict=True)
                error = max(distance(v, w, "float64", size) for v, w, size in triples)
                assert error < 0.01, f"{output}, row {i} ({b.families[i]})"


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
