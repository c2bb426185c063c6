"""The whole house in pure Python: every formula for one row at a time, slow and obvious.

A row is a list of floats. A result is a float, a list (one number per class) or a list of lists.
Sums are rounded once (``math.fsum``), so what is left is the error of a handful of float operations.

Formulas are named by their source:

[Bridle]     J. S. Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990.
[Bishop]     C. M. Bishop, Pattern Recognition and Machine Learning, 2006, section 4.3.4.
[Hinton]     G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, 2015.
[Blanchard]  P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and softmax
             functions, IMA Journal of Numerical Analysis 41, 2021.

Special values: a row that holds NaN or +inf has no softmax, and neither has a row of -inf only: all NaN.
The logsumexp of these rows is NaN, inf and -inf. In a loss, 0 * -inf = 0.
"""

import math

NAN = math.nan
INF = math.inf


def total(terms):
    """The sum of `terms`, rounded once; with infinities or NaN, what IEEE addition makes of them."""
    terms = list(terms)
    return math.fsum(terms) if all(map(math.isfinite, terms)) else sum(terms)


def has_softmax(x):
    """Whether softmax is defined: no NaN, no +inf, and at least one class above -inf."""
    return not any(math.isnan(v) for v in x) and -INF < max(x, default=-INF) < INF


def softmax(x, temperature=1.0):
    """p_i = exp(x_i/T) / sum_j exp(x_j/T) [Bridle], T as in [Hinton, (1)], shifted by max x [Blanchard]."""
    if not has_softmax(x):
        return [NAN] * len(x)
    m = max(x)
    e = [math.exp((v - m) / temperature) for v in x]
    s = total(e)
    return [v / s for v in e]


def log_softmax(x, temperature=1.0):
    """log p_i = (x_i - m)/T - log sum_j exp((x_j - m)/T) with m = max x [Blanchard].

    One maximum adds exactly 1 to the sum, so the logarithm is log1p of the other terms: no digit is lost
    where p_i is near 1.
    """
    if not has_softmax(x):
        return [NAN] * len(x)
    m = max(x)
    top = x.index(m)
    others = total(math.exp((v - m) / temperature) for v in x[:top] + x[top + 1 :])
    return [(v - m) / temperature - math.log1p(others) for v in x]


def logsumexp(x):
    """log sum_j exp(x_j) = m + log sum_j exp(x_j - m) with m = max x [Blanchard]; -inf for an empty row."""
    if any(math.isnan(v) for v in x):
        return NAN
    m = max(x, default=-INF)
    if math.isinf(m):
        return m
    return m + math.log(total(math.exp(v - m) for v in x))


def jacobian(p, temperature=1.0):
    """dp_i/dx_j = p_i (delta_ij - p_j) / T [Bishop, (4.106)].

    Above 1/2 a rounded p_i has lost the digits of 1 - p_i; the other probabilities still have them.
    """

    def entry(i, j):
        if i != j:
            return -p[i] * p[j] / temperature
        complement = total(p[:i] + p[i + 1 :]) if p[i] > 0.5 else 1.0 - p[i]
        return p[i] * complement / temperature

    classes = range(len(p))
    return [[entry(i, j) for j in classes] for i in classes]


def vjp(p, g, temperature=1.0):
    """g^T J, the gradient of sum_i g_i p_i: p_j (g_j - sum_i p_i g_i) / T, from [Bishop, (4.106)]."""
    mean = total(a * b for a, b in zip(p, g, strict=True))
    return [a * (b - mean) / temperature for a, b in zip(p, g, strict=True)]


def jvp(p, t, temperature=1.0):
    """J t, the change of p along t; J is symmetric, so this is the map of `vjp`."""
    return vjp(p, t, temperature)


def log_vjp(p, g, temperature=1.0):
    """The gradient of sum_i g_i log p_i: (g_j - p_j sum_i g_i) / T, as dlog p_i/dx_j = (delta_ij - p_j)/T."""
    s = total(g)
    return [(b - a * s) / temperature for a, b in zip(p, g, strict=True)]


def log_jvp(p, t, temperature=1.0):
    """The change of log p along t: (t_i - sum_j p_j t_j) / T, as dlog p_i/dx_j = (delta_ij - p_j)/T."""
    mean = total(a * b for a, b in zip(p, t, strict=True))
    return [(b - mean) / temperature for b in t]


def index_loss(x, target, temperature=1.0):
    """-log p_target: [Bishop, (4.108)] with a one-hot target."""
    return -log_softmax(x, temperature)[target]


def index_gradient(x, target, temperature=1.0):
    """(p_j - delta_jt) / T [Bishop, (4.109)], [Hinton, (2)]; p_t - 1 is minus the sum of the other p."""
    p = softmax(x, temperature)
    g = [v / temperature for v in p]
    g[target] = -total(p[:target] + p[target + 1 :]) / temperature if has_softmax(x) else NAN
    return g


def probability_loss(x, target, temperature=1.0):
    """-sum_j t_j log p_j [Bishop, (4.108)], where t_j = 0 at x_j = -inf contributes 0."""
    log_p = log_softmax(x, temperature)
    return total(
        0.0 if t == 0.0 and v == -INF else -t * lp for v, t, lp in zip(x, target, log_p, strict=True)
    )


def probability_gradient(x, target, temperature=1.0):
    """(p_j sum_i t_i - t_j) / T: [Hinton, (2)] for targets of any sum."""
    s = total(target)
    return [(p * s - t) / temperature for p, t in zip(softmax(x, temperature), target, strict=True)]


def cross_entropy(rows, targets, temperature=1.0, reduction="mean", ignore_index=-100):
    """(loss, gradient) of a batch; a target is an index or a list of probabilities.

    An ignored row has zero loss and zero gradient and does not count in the mean. The gradient of
    "none", where the loss is a list, is that of "sum".
    """
    losses, gradient, counted = [], [], 0
    for x, target in zip(rows, targets, strict=True):
        if isinstance(target, list):
            losses.append(probability_loss(x, target, temperature))
            gradient.append(probability_gradient(x, target, temperature))
            counted += 1
        elif target == ignore_index:
            losses.append(0.0)
            gradient.append([0.0] * len(x))
        else:
            losses.append(index_loss(x, target, temperature))
            gradient.append(index_gradient(x, target, temperature))
            counted += 1
    if reduction == "none":
        return losses, gradient
    if reduction == "sum":
        return total(losses), gradient
    if counted == 0:
        return NAN, gradient
    return total(losses) / counted, [[g / counted for g in row] for row in gradient]
