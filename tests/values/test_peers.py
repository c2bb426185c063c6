"""Where other libraries go wrong today, as tests of ours; and the same numbers as theirs where they are right.

A peer that is not installed is skipped by name. Each peer is imported by one fixture, on first use.
"""

import importlib
import warnings

import ml_dtypes  # noqa: F401  gives NumPy the name bfloat16
import numpy as np
import pytest
from mpmath import mp

# What peers get wrong


def test_integers(csm):
    """SciPy's softmax of uint8 is NaN; integers are computed as float64."""
    x = np.array([[0, 128, 255], [1, 2, 3]])
    for dtype in (np.uint8, np.uint16, np.int16, np.int64):
        result = csm.softmax(x.astype(dtype))
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result, csm.softmax(x.astype(np.float64)))
        assert csm.cross_entropy(x.astype(dtype), [2, 2]) == csm.cross_entropy(x.astype(np.float64), [2, 2])
    lowest = np.array([np.iinfo(np.int8).min, np.iinfo(np.int8).max], np.int8)
    np.testing.assert_array_equal(csm.softmax(lowest), csm.softmax(lowest.astype(np.float64)))


def test_masked_arrays_do_not_lose_their_mask(csm):
    """SciPy loses the mask silently; here the error says what to write."""
    a = np.ma.masked_array([[1.0, 2.0, 3.0]], [[False, False, True]])
    for name in ("softmax", "log_softmax", "logsumexp", "softmax_entropy"):
        with pytest.raises(TypeError, match=r"where=~a\.mask"):
            getattr(csm, name)(a)
    for name, others in {
        "cross_entropy": ([0],),
        "selective_log_softmax": ([0],),
        "softmax_jacobian": (),
        "softmax_vjp": (a,),
        "softmax_grad_hess": ([0],),
    }.items():
        with pytest.raises(TypeError, match="mask"):
            getattr(csm, name)(a, *others)
    np.testing.assert_array_equal(csm.softmax(a.data, where=~a.mask)[0, :2], csm.softmax(a.data[0, :2]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_no_classes(csm, dtype):
    """SciPy's softmax of (n, 0) raises."""
    x = np.empty((3, 0), dtype)
    for name in ("softmax", "log_softmax"):
        result = getattr(csm, name)(x)
        assert result.shape == (3, 0) and result.dtype == dtype
    np.testing.assert_array_equal(csm.logsumexp(x, axis=1).astype("f4"), -np.inf)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("margin", [17, 18, 20, 25, 40, 80])
def test_confident_float32(csm, margin, classes):
    """A float32 loss is exactly 0 from a margin of 17 in PyTorch, SciPy, JAX and scikit-learn."""
    x = np.zeros((1, classes), np.float32)
    x[0, 0] = margin
    with mp.workprec(100):
        exact = float(mp.log1p((classes - 1) * mp.exp(-margin)))
    assert margin != 17 or f"{exact:.1e}" == {2: "4.1e-08", 3: "8.3e-08"}[classes]
    one_hot = np.eye(classes)[:1]
    values = [
        *(csm.cross_entropy(x, target) for target in ([0], one_hot, ([[0]], [[1.0]]))),
        -csm.log_softmax(x)[0, 0],
        -csm.selective_log_softmax(x, [0])[0],
    ]
    np.testing.assert_allclose(values, exact, rtol=4 * 2.0**-23)
    own = csm.cross_entropy(x, [0], return_grad=True)[1][0, 0]
    np.testing.assert_allclose(own, np.expm1(-exact), rtol=4 * 2.0**-23)


@pytest.mark.parametrize("offset", [0, 1e4, -1e4, 1e6, -1e6])
def test_offsets(csm, offset):
    """scikit-learn's loss is off by 4e-4 at a logit offset of 1e4 in float32, by 0.03 at 1e6: x - logsumexp."""
    row = np.array([[0.5, 2.0, -1.25, 0.0, 1.5]])
    x = (row + offset).astype(np.float32)
    np.testing.assert_array_equal(x - np.float32(offset), row)
    expected = np.log(np.exp(row).sum()) - row[0]
    for k in range(5):
        soft = np.eye(5)[[k]]
        for target in ([k], soft, ([[k]], [[1.0]])):
            np.testing.assert_allclose(csm.cross_entropy(x, target), expected[k], rtol=4 * 2.0**-23)
    np.testing.assert_allclose(csm.log_softmax(x)[0], -expected, rtol=4 * 2.0**-23)
    np.testing.assert_allclose(csm.softmax_entropy(x)[0], (np.exp(-expected) * expected).sum(), rtol=4 * 2.0**-23)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_long_halves(csm, dtype):
    """The float16 logsumexp of 70,000 zeros is inf in PyTorch and SciPy: their sum saturates."""
    n = 70_000
    x = np.zeros((2, n), dtype)
    exact = np.log(n)
    assert csm.logsumexp(x[0]) == np.array(exact, dtype)
    np.testing.assert_array_equal(csm.logsumexp(x, axis=1), np.full(2, exact, dtype))
    np.testing.assert_array_equal(csm.softmax_entropy(x), np.full(2, exact, dtype))
    np.testing.assert_array_equal(csm.log_softmax(x), np.full((2, n), -exact, dtype))
    np.testing.assert_array_equal(csm.softmax(x), np.full((2, n), 1 / n, dtype))
    loss, gradient = csm.cross_entropy(x, [0, n - 1], return_grad=True, reduction="sum")
    assert loss.dtype == np.float32 and gradient.dtype == dtype
    np.testing.assert_allclose(loss, 2 * exact, rtol=1e-6)
    assert gradient[0, 0] == gradient[1, -1] == -1


@pytest.mark.parametrize("value", [3, 4, -1, -99, 2**31, 2**32, 2**32 + 1, 10**12, -(2**63)])
def test_bad_labels(csm, value):
    """A bad label reads out of bounds, wraps or becomes NaN in scikit-learn and optax."""
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    labels = np.array([0, 1, value, 2], np.int64)
    out, weight = np.full((4, 3), 7.25, np.float32), np.ones(3)
    for options in ({}, {"weight": weight}, {"label_smoothing": 0.1}, {"z_loss": 0.1, "softcap": 5.0}):
        with pytest.raises(IndexError, match=rf"\b2\b.*{value}|{value}.*\b2\b"):
            csm.cross_entropy(x, labels, return_grad=True, out=out, **options)
    with pytest.raises(IndexError, match=str(value)):
        csm.cross_entropy(x, (labels[:, None], np.ones((4, 1))), return_grad=True, out=out)
    with pytest.raises(IndexError, match=str(value)):
        csm.softmax_grad_hess(x, labels, out=(out, out.copy()))
    with pytest.raises(IndexError, match=str(value)):
        csm.selective_log_softmax(x, labels, out=out[:, 0])
    np.testing.assert_array_equal(out, 7.25)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_any_integer_labels(csm, dtype):
    """PyTorch refuses int32 labels."""
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    labels = np.array([0, 3, 1, 2, 0, 3])
    loss, gradient = csm.cross_entropy(x, labels, weight=np.ones(4), return_grad=True)
    same_loss, same_gradient = csm.cross_entropy(x, labels.astype(dtype), weight=np.ones(4), return_grad=True)
    assert loss == same_loss
    np.testing.assert_array_equal(gradient, same_gradient)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_soft_target_at_a_masked_logit(csm, dtype):
    """A soft target of 0 at a logit of -inf is NaN in PyTorch and optax."""
    x = np.array([[0.0, -np.inf, 0.0]], dtype)
    loss, gradient = csm.cross_entropy(x, [[0.5, 0.0, 0.5]], return_grad=True)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(gradient.astype("f8"), 0)
    assert csm.cross_entropy(x, [[0.5, 0.25, 0.25]]) == np.inf


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shift", [1, 3, 7, 8, 20, -1, -3, -8, -20])
def test_shifted_overlap(csm, shift, dtype):
    """softmax(out=) gives a wrong row in PyTorch where the result overlaps the input, shifted."""
    for rows, n in ((1, 50), (9, 8), (40, 3)):
        size, start = rows * n, max(-shift, 0)
        for name in ("softmax", "log_softmax"):
            buffer = np.random.default_rng(n).normal(size=size + abs(shift)).astype(dtype)
            x = buffer[start : start + size].reshape(rows, n)
            out = buffer[start + shift : start + shift + size].reshape(rows, n)
            expected = getattr(csm, name)(x.copy())
            getattr(csm, name)(x, out=out)
            np.testing.assert_array_equal(out, expected)
        buffer = np.random.default_rng(n).normal(size=size + abs(shift)).astype(dtype)
        x = buffer[start : start + size].reshape(rows, n)
        out = buffer[start + shift : start + shift + size].reshape(rows, n)
        labels, options = np.arange(rows) % n, {"label_smoothing": 0.1, "return_grad": True}
        loss, expected = csm.cross_entropy(x.copy(), labels, **options)
        found, _ = csm.cross_entropy(x, labels, out=out, **options)
        assert found == loss
        np.testing.assert_array_equal(out, expected)


# The same numbers as peers'

ROWS, CLASSES = 12, 7


def logits(dtype=np.float64):
    return np.random.default_rng(0).normal(scale=3.0, size=(ROWS, CLASSES)).astype(dtype)


def labels():
    return np.random.default_rng(1).integers(0, CLASSES, ROWS)


def soft():
    return np.random.default_rng(2).dirichlet(np.ones(CLASSES), ROWS)


def weight():
    return np.random.default_rng(3).uniform(0.2, 2, CLASSES)


def sample_weight():
    return np.random.default_rng(4).uniform(0.2, 2, ROWS)


def mask():
    where = np.random.default_rng(5).random((ROWS, CLASSES)) < 0.6
    where[:, 0] = True
    return where


def near(actual, expected, tolerance=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def special():
    return pytest.importorskip("scipy.special")


@pytest.fixture(scope="module")
def jax():
    """JAX in double precision."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(scope="module")
def optax(jax):
    pytest.importorskip("optax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("optax")


class TestTorch:
    """PyTorch's cross_entropy, whose conventions for weights, smoothing and the mean are ours."""

    def both(self, torch, x, target, **options):
        """(loss, gradient of its sum)."""
        x = torch.tensor(x, requires_grad=True)
        options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        loss = torch.nn.functional.cross_entropy(x, torch.tensor(target), **options)
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        return loss.detach().numpy(), gradient.numpy()

    @pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("kind", ["labels", "probabilities", "labels, some ignored"])
    def test_cross_entropy(self, csm, torch, kind, weighted, smoothing, reduction):
        target = soft() if kind == "probabilities" else labels()
        if kind == "labels, some ignored":
            target[[1, 5]] = -100
        options = {"label_smoothing": smoothing, "reduction": reduction}
        if weighted:
            options["weight"] = weight()
        loss, gradient = csm.cross_entropy(logits(), target, return_grad=True, **options)
        expected, expected_gradient = self.both(torch, logits(), target, **options)
        near(loss, expected)
        near(gradient, expected_gradient)

    def test_ignore_index_of_torch(self, csm, torch):
        for ignored in (0, 3, -1, 255):
            target = labels()
            target[[0, 4]] = ignored
            loss, gradient = csm.cross_entropy(logits(), target, ignore_index=ignored, return_grad=True)
            expected, expected_gradient = self.both(torch, logits(), target, ignore_index=ignored)
            near(loss, expected)
            near(gradient, expected_gradient)

    def test_more_axes(self, csm, torch):
        x = np.random.default_rng(6).normal(size=(3, 4, 5, 2))
        target = np.random.default_rng(7).integers(0, 4, (3, 5, 2))
        loss, gradient = csm.cross_entropy(x, target, axis=1, return_grad=True, weight=weight()[:4])
        expected, expected_gradient = self.both(torch, x, target, weight=weight()[:4])
        near(loss, expected)
        near(gradient, expected_gradient)

    def test_nothing_counts_in_torch(self, csm, torch):
        target = np.full(ROWS, -100)
        assert np.isnan(self.both(torch, logits(), target)[0])
        assert np.isnan(csm.cross_entropy(logits(), target))

    def test_maps_and_halves(self, csm, torch):
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            t = torch.tensor(logits(), dtype=dtype)
            x = t.to(torch.float64).numpy().astype(str(dtype).removeprefix("torch."))
            tolerance = 2 * torch.finfo(dtype).eps
            for name in ("softmax", "log_softmax"):
                expected = getattr(torch, name)(t.to(torch.float64), -1).numpy()
                near(getattr(csm, name)(x).astype(np.float64), expected, 8 * tolerance)

    def test_entropy_and_selected(self, csm, torch):
        entropy = torch.distributions.Categorical(logits=torch.tensor(logits())).entropy().numpy()
        near(csm.softmax_entropy(logits()), entropy)
        log_p = torch.log_softmax(torch.tensor(logits()), -1)
        expected = torch.gather(log_p, 1, torch.tensor(labels())[:, None])[:, 0].numpy()
        near(csm.selective_log_softmax(logits(), labels()), expected)


class TestSciPy:
    @pytest.mark.parametrize("axis", [0, 1, -1, None, (0, 1)], ids=str)
    def test_maps_of_scipy(self, csm, special, axis):
        near(csm.softmax(logits(), axis), special.softmax(logits(), axis))
        near(csm.log_softmax(logits(), axis), special.log_softmax(logits(), axis))
        for keepdims in (False, True):
            expected = special.logsumexp(logits(), axis, keepdims=keepdims)
            near(csm.logsumexp(logits(), axis, keepdims=keepdims), expected)

    @pytest.mark.parametrize("axis", [0, 1, None, (0, 1)], ids=str)
    def test_weights_of_scipy(self, csm, special, axis):
        b = np.random.default_rng(8).normal(size=(ROWS, CLASSES))
        for factors in (b, abs(b), b[0], 2.0):
            found = csm.logsumexp(logits(), axis, b=factors, return_sign=True)
            expected = special.logsumexp(logits(), axis, b=factors, return_sign=True)
            near(found[0], expected[0], 1e-10)
            np.testing.assert_array_equal(found[1], expected[1])
        near(csm.logsumexp(logits(), axis, abs(b), True), special.logsumexp(logits(), axis, abs(b), True))

    def test_sign_of_nothing_negative(self, csm, special):
        for found, expected in zip(
            csm.logsumexp(logits(), 1, return_sign=True), special.logsumexp(logits(), 1, return_sign=True), strict=True
        ):
            near(found, expected)


class TestJax:
    @pytest.mark.parametrize("axis", [0, 1, (0, 1)], ids=str)
    def test_where_of_jax(self, csm, jax, axis):
        """`where` is JAX's: what stands under the mask does not count, nor does it leak."""
        where, x = mask(), np.where(mask(), logits(), np.nan)
        near(csm.softmax(x, axis, where=where), jax.nn.softmax(x, axis, where=where))
        near(csm.logsumexp(x, axis, where=where), jax.scipy.special.logsumexp(x, axis, where=where))
        expected = np.asarray(jax.nn.log_softmax(x, axis, where=where))
        found = csm.log_softmax(x, axis, where=where)
        near(found[where], expected[where])
        np.testing.assert_array_equal(found[~where], -np.inf)

    def test_entropy_of_jax(self, csm, jax):
        p = jax.nn.softmax(logits(), -1)
        near(csm.softmax_entropy(logits()), -(p * jax.nn.log_softmax(logits(), -1)).sum(-1))

    def test_gradient_with_every_option(self, csm, jax):
        """JAX differentiates the formula of the loss."""
        w, s, t = weight(), sample_weight(), sample_weight() + 0.5

        def loss(x, target):
            u = 20.0 * jax.numpy.tanh(x / 20.0) / t[:, None]
            lse = jax.scipy.special.logsumexp(u, axis=-1)
            c = w * (0.9 * target + 0.1 / CLASSES)
            rows = s * ((c * (lse[:, None] - u)).sum(-1) + 0.01 * lse**2)
            return rows.sum() / 3.0

        options = {
            "weight": w,
            "sample_weight": s,
            "label_smoothing": 0.1,
            "z_loss": 0.01,
            "softcap": 20.0,
            "temperature": t,
            "normalizer": 3.0,
            "return_grad": True,
        }
        for target, dense in ((labels(), np.eye(CLASSES)[labels()]), (soft(), soft())):
            found = csm.cross_entropy(logits(), target, **options)
            expected = jax.value_and_grad(loss)(logits(), dense)
            near(found[0], expected[0])
            near(found[1], expected[1])


class TestOptax:
    def test_losses_of_optax(self, csm, optax):
        near(csm.cross_entropy(logits(), soft(), reduction="none"), optax.softmax_cross_entropy(logits(), soft()))
        near(
            csm.cross_entropy(logits(), labels(), reduction="none"),
            optax.softmax_cross_entropy_with_integer_labels(logits(), labels()),
        )

    def test_smoothing(self, csm, optax):
        smoothed = optax.smooth_labels(np.eye(CLASSES)[labels()], 0.2)
        near(
            csm.cross_entropy(logits(), labels(), label_smoothing=0.2, reduction="none"),
            optax.softmax_cross_entropy(logits(), smoothed),
        )

    def test_where_of_optax(self, csm, optax):
        """A loss of masked logits: -inf and a target of 0 outside."""
        where = mask()
        target = np.where(where, soft(), 0)
        expected = optax.softmax_cross_entropy(logits(), target, where=where)
        near(csm.cross_entropy(np.where(where, logits(), -np.inf), target, reduction="none"), expected)


class TestSklearn:
    def test_half_multinomial_loss(self, csm):
        """Its sample weights are ours, and its Hessian is the "diagonal"."""
        loss_module = pytest.importorskip("sklearn._loss.loss")
        half = loss_module.HalfMultinomialLoss(n_classes=CLASSES)
        raw, y = logits(), labels().astype(np.float64)
        for s in (None, sample_weight()):
            rows, gradient = half.loss_gradient(y_true=y, raw_prediction=raw, sample_weight=s)
            found = csm.cross_entropy(raw, y, sample_weight=s, reduction="none", return_grad=True)
            near(found[0], rows)
            near(found[1], gradient)
            gradient, hessian = half.gradient_hessian(y_true=y, raw_prediction=raw, sample_weight=s)
            found = csm.softmax_grad_hess(raw, y, sample_weight=s, hessian="diagonal")
            near(found[0], gradient)
            near(found[1], hessian)

    def test_log_loss(self, csm):
        metrics = pytest.importorskip("sklearn.metrics")
        p, s = csm.softmax(logits()), sample_weight()
        expected = metrics.log_loss(labels(), p, sample_weight=s, labels=range(CLASSES))
        near(csm.cross_entropy(logits(), labels(), sample_weight=s, normalizer=s.sum()), expected)
