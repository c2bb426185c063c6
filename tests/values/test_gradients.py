"""Every derivative against central finite differences in float64, against the pure-Python reference
and against the laws it must obey; the reference itself against the same finite differences.
"""

import numpy as np
import pytest
import reference
from differences import along, differences, gradient_by_differences, near, same
from losses import OPTIONS, by_reference, options_of

TEMPERATURES = [0.5, 1.0, 3.0]
CLASSES = [1, 2, 3, 10, 33]
REDUCTIONS = ["none", "sum", "mean"]

every_row = pytest.mark.parametrize("n", CLASSES)
every_temperature = pytest.mark.parametrize("temperature", TEMPERATURES)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def row(n, seed=0):
    return np.random.default_rng([n, seed]).normal(scale=3.0, size=n)


def rowwise(f, **options):
    """A row function of the reference as one that takes a row or a stack of rows."""
    return lambda x: np.apply_along_axis(lambda v: f(v.tolist(), **options), -1, x)


# The reference


@every_temperature
@every_row
def test_reference_jacobian(n, temperature):
    x = row(n)
    p = reference.softmax(x.tolist(), temperature)
    measured = differences(rowwise(reference.softmax, temperature=temperature), x)
    near(reference.jacobian(p, temperature), measured.T)


@every_temperature
@every_row
def test_reference_products(n, temperature):
    x, g = row(n), row(n, seed=1)
    p = reference.softmax(x.tolist(), temperature)
    softmax = rowwise(reference.softmax, temperature=temperature)
    log_softmax = rowwise(reference.log_softmax, temperature=temperature)
    near(reference.vjp(p, g.tolist(), temperature), differences(lambda v: softmax(v) @ g, x))
    near(reference.jvp(p, g.tolist(), temperature), along(softmax, x, g))
    near(reference.log_vjp(p, g.tolist(), temperature), differences(lambda v: log_softmax(v) @ g, x))
    near(reference.log_jvp(p, g.tolist(), temperature), along(log_softmax, x, g))


@every_row
def test_reference_logsumexp(n):
    x = row(n)
    near(reference.softmax(x.tolist()), differences(rowwise(reference.logsumexp), x))


@every_temperature
@every_row
def test_reference_loss(n, temperature):
    x, t = row(n), row(n, seed=2)
    for target in range(n):
        measured = differences(rowwise(reference.index_loss, target=target, temperature=temperature), x)
        near(reference.index_gradient(x.tolist(), target, temperature), measured)
    measured = differences(rowwise(reference.probability_loss, target=t.tolist(), temperature=temperature), x)
    near(reference.probability_gradient(x.tolist(), t.tolist(), temperature), measured)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_reference_options(n):
    """Each option and all of them, for each kind of target."""
    rng = np.random.default_rng(n)
    x, soft = rng.normal(scale=3.0, size=n), rng.normal(size=n).tolist()
    pair = rng.integers(0, n, 3).tolist(), rng.normal(size=3).tolist()
    options = [{"sample_weight": -1.5}, {"z_loss": 0.3}, {"softcap": 4.0}, {"temperature": 0.5}]
    options.append({k: v for option in options for k, v in option.items()})
    for target in (n - 1, soft, pair):
        t = reference.target_probabilities(target, n)
        for c in (t, reference.coefficients(t, rng.random(n).tolist()), reference.coefficients(t, None, 0.2)):
            for given in options:
                measured = differences(rowwise(reference.row_loss, c=c, **given), x)
                near(reference.row_gradient(x.tolist(), c, **given), measured)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reference_batch(reduction):
    x, labels = row(20).reshape(4, 5), [3, -100, 0, 4]
    _, gradient = reference.cross_entropy(x.tolist(), labels, reduction=reduction)
    near(
        gradient,
        gradient_by_differences(lambda v: reference.cross_entropy(v.tolist(), labels, reduction=reduction)[0], x),
    )


# Jacobian, VJP, JVP


@every_temperature
@every_row
def test_jacobian(csm, n, temperature):
    x = row(n)
    p = csm.softmax(x, temperature=temperature)
    j = csm.softmax_jacobian(p, temperature=temperature)
    near(j, differences(lambda v: csm.softmax(v, temperature=temperature), x).T)
    same(j, reference.jacobian(p.tolist(), temperature))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 5, 10, 17, 48, 49])
def test_jacobians_of_many_rows(csm, n, dtype):
    """Where rows of few classes are many, their largest probabilities are found side by side; half are above 1/2."""
    info, p = np.finfo(dtype), csm.softmax(4 * row(150 * n).reshape(150, n)).astype(dtype)
    for j, each in zip(csm.softmax_jacobian(p), p, strict=True):
        np.testing.assert_allclose(j, reference.jacobian(each.tolist()), 4 * info.eps, info.smallest_subnormal)


@every_temperature
@every_row
def test_jacobian_laws(csm, n, temperature):
    p = csm.softmax(row(4 * n).reshape(4, n), temperature=temperature)
    j = csm.softmax_jacobian(p, temperature=temperature)
    assert j.shape == (4, n, n)
    np.testing.assert_allclose(j, j.swapaxes(1, 2), rtol=0.0 if temperature == 1.0 else 1e-15)
    np.testing.assert_allclose(j.sum(axis=2), 0.0, atol=1e-15 * n / temperature)
    assert (np.linalg.eigvalsh(j) >= -1e-15 * n / temperature).all()


@every_temperature
@every_row
def test_products_against_the_jacobian(csm, n, temperature):
    p, v = csm.softmax(row(n), temperature=temperature), row(n, seed=1)
    j = csm.softmax_jacobian(p, temperature=temperature)
    log_j = (np.eye(n) - p) / temperature
    scale = np.abs(v).sum() / temperature
    same(csm.softmax_vjp(p, v, temperature=temperature), v @ j, scale)
    same(csm.softmax_jvp(p, v, temperature=temperature), j @ v, scale)
    same(csm.log_softmax_vjp(p, v, temperature=temperature), v @ log_j, scale)
    same(csm.log_softmax_jvp(p, v, temperature=temperature), log_j @ v, scale)


@every_temperature
@every_row
def test_products_against_differences(csm, n, temperature):
    x, v = row(n), row(n, seed=1)

    def softmax(x):
        return csm.softmax(x, temperature=temperature)

    def log_softmax(x):
        return csm.log_softmax(x, temperature=temperature)

    p = softmax(x)
    near(csm.softmax_vjp(p, v, temperature=temperature), differences(lambda u: softmax(u) @ v, x))
    near(csm.softmax_jvp(p, v, temperature=temperature), along(softmax, x, v))
    near(csm.log_softmax_vjp(p, v, temperature=temperature), differences(lambda u: log_softmax(u) @ v, x))
    near(csm.log_softmax_jvp(p, v, temperature=temperature), along(log_softmax, x, v))


@every_temperature
@every_row
def test_products_against_the_reference(csm, n, temperature):
    p = csm.softmax(row(3 * n).reshape(3, n))
    v = row(3 * n, seed=1).reshape(3, n)
    scale = np.abs(v).sum(axis=1, keepdims=True).max() / temperature
    for function, row_function in [
        (csm.softmax_vjp, reference.vjp),
        (csm.softmax_jvp, reference.jvp),
        (csm.log_softmax_vjp, reference.log_vjp),
        (csm.log_softmax_jvp, reference.log_jvp),
    ]:
        expected = [row_function(a, b, temperature) for a, b in zip(p.tolist(), v.tolist(), strict=True)]
        same(function(p, v, temperature=temperature), expected, scale)


@every_row
def test_products_are_transposes(csm, n):
    """(g, J t) = (J^T g, t) for both maps."""
    p, g, t = csm.softmax(row(n)), row(n, seed=1), row(n, seed=2)
    scale = np.abs(g).sum() * np.abs(t).sum()
    same(g @ csm.softmax_jvp(p, t), csm.softmax_vjp(p, g) @ t, scale)
    same(g @ csm.log_softmax_jvp(p, t), csm.log_softmax_vjp(p, g) @ t, scale)


@every_temperature
@every_row
def test_entropy_gradient(csm, n, temperature):
    x = row(n)
    entropy, gradient = csm.softmax_entropy(x, temperature=temperature, return_grad=True)
    same(entropy, csm.softmax_entropy(x, temperature=temperature))
    same(gradient, reference.entropy_gradient(x.tolist(), temperature))
    near(gradient, differences(lambda v: csm.softmax_entropy(v, temperature=temperature), x))
    near(gradient, differences(rowwise(reference.entropy, temperature=temperature), x))


@every_reduction
@every_temperature
@every_row
def test_divergence_gradient(csm, n, temperature, reduction):
    """Against the reference; by q's logits against differences, of the reference too."""
    a, b, s = row(5 * n).reshape(5, n), row(5 * n, seed=1).reshape(5, n), np.linspace(-1.0, 2.0, 5)
    options = {"temperature": temperature, "sample_weight": s, "reduction": reduction}
    divisor = 5 if reduction == "mean" else 1
    expected, slopes = (
        np.array([f(u.tolist(), v.tolist(), temperature, w) for u, v, w in zip(a, b, s.tolist(), strict=True)])
        for f in (reference.kl_divergence, reference.kl_gradient)
    )
    loss, gradient = csm.kl_divergence(a, b, return_grad=True, **options)
    same(loss, expected if reduction == "none" else expected.sum() / divisor, 100.0)
    same(gradient, slopes / divisor, 10.0)
    same(csm.kl_divergence(a, b, **options), loss)
    near(gradient, gradient_by_differences(lambda v: np.sum(csm.kl_divergence(a, v, **options)), b))

    def by_hand(v):
        return reference.kl_divergence(a[1].tolist(), v.tolist(), temperature, s[1])

    near(reference.kl_gradient(a[1].tolist(), b[1].tolist(), temperature, s[1]), gradient_by_differences(by_hand, b[1]))


@every_row
def test_logsumexp_has_the_gradient_softmax(csm, n):
    x = row(n)
    near(csm.softmax(x), differences(lambda v: csm.logsumexp(v, axis=-1), x))


# Cross-entropy


def batch(n, rows=5):
    """Logits, labels with an ignored row among them, and probabilities of any sum and sign."""
    rng = np.random.default_rng(n)
    labels = rng.integers(0, n, rows)
    labels[2] = -100
    return rng.normal(scale=3.0, size=(rows, n)), labels, rng.normal(size=(rows, n))


def check_loss(csm, x, target, reduction, **options):
    """Loss and gradient against the reference, the gradient against finite differences of the loss."""
    loss, gradient = csm.cross_entropy(x, target, reduction=reduction, return_grad=True, **options)
    scale = 10.0
    if not isinstance(target, tuple) and np.shape(target) == x.shape:
        scale += np.abs(target).sum()
    expected_loss, expected_gradient = by_reference(x, target, reduction=reduction, **options)
    same(loss, expected_loss, scale * np.abs(x).max())
    same(gradient, expected_gradient, scale)
    same(csm.cross_entropy(x, target, reduction=reduction, **options), loss)

    def total(v):
        return np.sum(csm.cross_entropy(v, target, reduction=reduction, **options))

    near(gradient, gradient_by_differences(total, x))


@every_reduction
@every_temperature
@every_row
@pytest.mark.parametrize("kind", [1, 2], ids=["index", "probabilities"])
def test_gradients_at_a_temperature(csm, kind, n, temperature, reduction):
    arrays = batch(n)
    check_loss(csm, arrays[0], arrays[kind], reduction, temperature=temperature)


@every_reduction
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", [*OPTIONS, "all", "normalizer"])
@pytest.mark.parametrize("kind", ["index", "probabilities", "sparse"])
def test_gradients_with_options(csm, kind, name, masked, reduction):
    """With and without a mask that leaves out one class of each row, none of them a target's."""
    for n in (1, 2, 10):
        x, labels, probabilities = batch(n)
        slots = np.random.default_rng(n).integers(0, n, (len(x), 3))
        slots[1, 2], slots[3] = -100, -100
        given = options_of(name, x.shape)
        if name == "normalizer" and reduction == "mean":
            given["normalizer"] = 2.5
        if masked and n > 1:
            given["where"] = np.arange(n) != (labels[:, None] + 1) % n
            probabilities = np.where(given["where"], probabilities, 0)
            slots[:] = np.where(slots == -100, -100, labels[:, None])
        pair = slots, probabilities[:, np.arange(3) % n]
        check_loss(csm, x, {"index": labels, "probabilities": probabilities, "sparse": pair}[kind], reduction, **given)


@every_reduction
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 6.0])
def test_focal_gamma(csm, gamma, reduction):
    """With all that may go with it, and with `where`."""
    for n in (2, 3, 10):
        x, labels, _ = batch(n)
        check_loss(csm, x, labels, reduction, focal_gamma=gamma)
        given = options_of("all", x.shape, ("weight", "sample_weight", "softcap", "temperature"))
        where = np.arange(n) != (labels[:, None] + 1) % n
        check_loss(csm, x, labels, reduction, focal_gamma=gamma, where=where, **given)


@every_reduction
@pytest.mark.parametrize("ignore_index", [-100, -1, 1, 7, None])
def test_gradients_of_ignored_rows(csm, ignore_index, reduction):
    x, labels, _ = batch(4, rows=9)
    labels[2] = 0 if ignore_index is None else ignore_index
    check_loss(csm, x, labels, reduction, ignore_index=ignore_index)
    _, gradient = csm.cross_entropy(x, labels, reduction=reduction, ignore_index=ignore_index, return_grad=True)
    np.testing.assert_array_equal(gradient[labels == ignore_index], 0.0)
    assert (gradient[labels != ignore_index] != 0.0).all()


@every_reduction
@every_temperature
def test_one_hot_is_the_index(csm, temperature, reduction):
    rng = np.random.default_rng(6)
    x, labels = rng.normal(scale=3.0, size=(40, 7)), rng.integers(0, 7, 40)
    options = {"temperature": temperature, "reduction": reduction, "return_grad": True}
    loss, gradient = csm.cross_entropy(x, labels, **options)
    for one_hot in (np.eye(7)[labels], np.eye(7, dtype=np.int64)[labels]):
        soft_loss, soft_gradient = csm.cross_entropy(x, one_hot, **options)
        same(soft_loss, loss, 40.0)
        same(soft_gradient, gradient)


@pytest.mark.parametrize("kind", ["index", "probabilities"])
@every_reduction
def test_gradient_of_none_is_that_of_the_sum(csm, reduction, kind):
    x, labels, probabilities = batch(6, rows=8)
    target = labels if kind == "index" else probabilities
    counted = 7 if kind == "index" else 8
    rows = csm.cross_entropy(x, target, reduction="none")
    loss, gradient = csm.cross_entropy(x, target, reduction=reduction, return_grad=True)
    _, summed = csm.cross_entropy(x, target, reduction="sum", return_grad=True)
    divisor = counted if reduction == "mean" else 1
    assert rows.shape == (8,)
    same(loss, rows if reduction == "none" else rows.sum() / divisor, 100.0)
    same(gradient, summed / divisor)


@every_temperature
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_chain_to_weights(csm, reduction, temperature):
    """A linear model: dW = X^T (p - delta) and db = sum (p - delta), over T, and over the rows if "mean"."""
    rng = np.random.default_rng(8)
    x, labels = rng.normal(size=(6, 3)), rng.integers(0, 4, 6)
    w, b = rng.normal(size=(3, 4)), rng.normal(size=4)
    options = {"temperature": temperature, "reduction": reduction}

    _, gradient = csm.cross_entropy(x @ w + b, labels, return_grad=True, **options)
    divisor = temperature * (len(labels) if reduction == "mean" else 1)
    residual = (csm.softmax(x @ w + b, temperature=temperature) - np.eye(4)[labels]) / divisor
    same(x.T @ gradient, x.T @ residual, 10.0)
    same(gradient.sum(axis=0), residual.sum(axis=0), 10.0)
    near(x.T @ gradient, gradient_by_differences(lambda v: csm.cross_entropy(x @ v + b, labels, **options), w))
    near(
        gradient.sum(axis=0),
        gradient_by_differences(lambda v: csm.cross_entropy(x @ w + v, labels, **options), b),
    )


@every_row
def test_hessian_is_the_jacobian(csm, n):
    """The Hessian of the loss is J, so softmax_jvp is its product with a direction."""
    x, t = row(n), row(n, seed=1)

    def gradient(v):
        return csm.cross_entropy(v, 0, return_grad=True)[1]

    near(csm.softmax_jvp(csm.softmax(x), t), along(gradient, x, t))


@every_temperature
def test_float32_follows_float64(csm, temperature):
    """The same derivatives in float32, where finite differences have too few digits to speak."""
    x, labels, probabilities = batch(10)
    x, probabilities = x.astype(np.float32), probabilities.astype(np.float32)
    p = csm.softmax(x)
    for function, *arrays in [
        (csm.softmax_jacobian, p),
        (csm.softmax_vjp, p, x),
        (csm.softmax_jvp, p, x),
        (csm.log_softmax_vjp, p, x),
        (csm.log_softmax_jvp, p, x),
    ]:
        single = function(*arrays, temperature=temperature)
        double = function(*(a.astype(np.float64) for a in arrays), temperature=temperature)
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=1e-6, atol=1e-5)
    for target in (labels, probabilities):
        single = csm.cross_entropy(x, target, temperature=temperature, return_grad=True)
        double = csm.cross_entropy(x.astype(np.float64), target, temperature=temperature, return_grad=True)
        assert single[0].dtype == single[1].dtype == np.float32
        np.testing.assert_allclose(single[0], double[0], rtol=1e-5)
        np.testing.assert_allclose(single[1], double[1], rtol=1e-6, atol=1e-6)
