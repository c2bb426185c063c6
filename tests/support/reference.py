"""Everything that csoftmax computes in pure Python: every formula for one row at a time, slow and obvious.

A row is a list of floats. A result is a float, a list (one number per class) or a list of lists.
Sums are rounded once (``math.fsum``), so what is left is the error of a handful of float operations.

Formulas are named by their source:

[Bridle]     J. S. Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990.
[Bishop]     C. M. Bishop, Pattern Recognition and Machine Learning, 2006, section 4.3.4.
[Hinton]     G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, 2015.
[Blanchard]  P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and softmax
             functions, IMA Journal of Numerical Analysis 41, 2021.
[Szegedy]    C. Szegedy et al., Rethinking the Inception architecture for computer vision, 2016, section 7.
[Chowdhery]  A. Chowdhery et al., PaLM: scaling language modeling with pathways, 2022, section 5.
[Bello]      I. Bello et al., Neural combinatorial optimization with reinforcement learning, 2017.
[Lin]        T.-Y. Lin et al., Focal loss for dense object detection, 2017.
[Kullback]   S. Kullback, R. A. Leibler, On information and sufficiency, The Annals of Mathematical Statistics 22, 1951.
[Friedman]   J. H. Friedman, Greedy function approximation: a gradient boosting machine, 2001.

Special values: a row that holds NaN or +inf has no softmax, and neither has a row of -inf only: all NaN.
The logsumexp of these rows is NaN, inf and -inf. In a loss, 0 * -inf = 0.
"""

import itertools
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
    return total(0.0 if t == 0.0 and v == -INF else -t * lp for v, t, lp in zip(x, target, log_p, strict=True))


def probability_gradient(x, target, temperature=1.0):
    """(p_j sum_i t_i - t_j) / T: [Hinton, (2)] for targets of any sum."""
    s = total(target)
    return [(p * s - t) / temperature for p, t in zip(softmax(x, temperature), target, strict=True)]


def selected(f, x, where, fill):
    """`f` of the classes that take part; the others, or all of them if none does, get `fill`."""
    kept = [v for v, part in zip(x, where, strict=True) if part]
    values = iter(f(kept) if kept else [])
    return [next(values) if part else fill for part in where]


def signed_logsumexp(x, b):
    """log |sum_j b_j exp(x_j)| and the sign of the sum, where b_j = 0 leaves the class out."""
    pairs = [(v, w) for v, w in zip(x, b, strict=True) if w != 0.0]
    m = max((v for v, _ in pairs), default=-INF)
    if m == -INF:
        return -INF, 0.0
    s = total(w * math.exp(v - m) for v, w in pairs)
    return (m + math.log(abs(s)) if s else -INF), float((s > 0) - (s < 0))


def entropy(x, temperature=1.0):
    """-sum_j p_j log p_j, where p_j = 0 contributes 0; 0 for a row without classes."""
    p, log_p = softmax(x, temperature), log_softmax(x, temperature)
    return total(0.0 if a == 0.0 else -a * b for a, b in zip(p, log_p, strict=True))


def entropy_gradient(x, temperature=1.0):
    """-p_j (log p_j + H)/T, from `entropy` by [Bishop, (4.106)]; 0 where p_j = 0."""
    p, log_p, h = softmax(x, temperature), log_softmax(x, temperature), entropy(x, temperature)
    return [0.0 if a == 0.0 else -a * (b + h) / temperature for a, b in zip(p, log_p, strict=True)]


def expectation(x, values, temperature=1.0):
    """sum_j p_j v_j, where p_j = 0 contributes 0; 0 for a row without classes."""
    return total(0.0 if p == 0.0 else p * v for p, v in zip(softmax(x, temperature), values, strict=True))


def expectation_gradient(x, values, temperature=1.0):
    """p_j (v_j - E)/T, the `vjp` of the values; 0 where p_j = 0."""
    mean, p = expectation(x, values, temperature), softmax(x, temperature)
    return [0.0 if a == 0.0 else a * (v - mean) / temperature for a, v in zip(p, values, strict=True)]


def top_k(x, k):
    """The classes of the k largest logits, of equal ones the smallest; NaN counts as -inf."""
    return sorted(range(len(x)), key=lambda i: (INF if math.isnan(x[i]) else -x[i], i))[:k]


def segments(x, offsets):
    """The rows x[offsets[i]:offsets[i + 1]]."""
    return [x[a:b] for a, b in itertools.pairwise(offsets)]


def kl_divergence(a, b, temperature=1.0, sample_weight=1.0):
    """s sum_j p_j (log p_j - log q_j) [Kullback] of p = softmax(a/T) and q = softmax(b/T); p_j = 0 contributes 0."""
    p, log_p, log_q = softmax(a, temperature), log_softmax(a, temperature), log_softmax(b, temperature)
    terms = (0.0 if u == 0.0 else u * (v - w) for u, v, w in zip(p, log_p, log_q, strict=True))
    return sample_weight * total(terms)


def kl_gradient(a, b, temperature=1.0, sample_weight=1.0):
    """s (q_j - p_j)/T, the derivative of `kl_divergence` by b: [Hinton, (2)]."""
    p, q = softmax(a, temperature), softmax(b, temperature)
    return [sample_weight * (v - u) / temperature for u, v in zip(p, q, strict=True)]


def selective_log_softmax(x, index, temperature=1.0):
    """log p of one class, or a list of those of several."""
    log_p = log_softmax(x, temperature)
    return [log_p[i] for i in index] if isinstance(index, list) else log_p[index]


def capped(x, softcap=None):
    """u = cap tanh(x/cap), which keeps the logits within the cap [Bello]."""
    return x if softcap is None else [softcap * math.tanh(v / softcap) for v in x]


def capped_slope(x, softcap=None):
    """du/dx = 1 - tanh^2 = 4q/(1 + q)^2 with q = exp(-2|x|/cap), which keeps its digits where tanh is near 1."""
    if softcap is None:
        return [1.0] * len(x)
    q = [math.exp(-2.0 * abs(v) / softcap) for v in x]
    return [4.0 * v / (1.0 + v) ** 2 for v in q]


def target_probabilities(target, n, ignore_index=-100):
    """The probabilities t that an index, a list of n probabilities or a pair (indices, probabilities) stands for.

    None for an ignored row: its index, or all its indices, are `ignore_index`. Equal indices add.
    """
    if isinstance(target, list):
        return target
    indices, probabilities = target if isinstance(target, tuple) else ([target], [1.0])
    kept = [(i, q) for i, q in zip(indices, probabilities, strict=True) if i != ignore_index]
    return [total(q for i, q in kept if i == j) for j in range(n)] if kept else None


def coefficients(t, weight=None, label_smoothing=0.0, where=None):
    """c_j = w_j ((1 - eps) t_j + eps/C): smoothing mixes in the uniform distribution [Szegedy] of the C in `where`."""
    where = where or [True] * len(t)
    w, share = weight or [1.0] * len(t), label_smoothing / max(1, sum(where))
    return [
        a * ((1.0 - label_smoothing) * b + (share if part else 0.0)) for a, b, part in zip(w, t, where, strict=True)
    ]


def row_loss(x, c, *, sample_weight=1.0, z_loss=0.0, softcap=None, temperature=1.0):
    """s (sum_j c_j (L - v_j) + z L^2), v = u/T and L = logsumexp(v) [Chowdhery]; c_j = 0 contributes 0."""
    u = capped(x, softcap)
    log_p = log_softmax(u, temperature)
    normalizer = logsumexp([v / temperature for v in u])
    terms = [0.0 if a == 0.0 and -INF in (v, b) else -a * b for v, a, b in zip(u, c, log_p, strict=True)]
    return sample_weight * total([*terms, z_loss * normalizer**2 if z_loss else 0.0])


def row_gradient(x, c, *, sample_weight=1.0, z_loss=0.0, softcap=None, temperature=1.0):
    """s ((sum c + 2 z L) p_j - c_j) / T du_j/dx_j, from `row_loss` by [Bishop, (4.106)].

    c_j p_j - c_j is minus c_j times the sum of the other p.
    """
    u = capped(x, softcap)
    p, slopes = softmax(u, temperature), capped_slope(x, softcap)
    normalizer = logsumexp([v / temperature for v in u])
    pull = 2.0 * z_loss * normalizer if z_loss else 0.0

    def entry(j):
        others = total(c[:j] + c[j + 1 :])
        rest = total(p[:j] + p[j + 1 :]) if has_softmax(u) else NAN
        return sample_weight * ((others + pull) * p[j] - c[j] * rest) / temperature * slopes[j]

    return [entry(j) for j in range(len(x))]


def focal_factors(x, target, gamma, temperature=1.0):
    """What focal loss [Lin] multiplies the loss l of a label with, r^gamma with r = 1 - p_t, and its gradient.

    That is r^gamma - gamma r^(gamma - 1) p_t log p_t, since dr/dx_j = p_t (p_j - delta_tj) and l = -log p_t; both are 0
    at r = 0.
    """
    if not has_softmax(x):
        return NAN, NAN
    p = softmax(x, temperature)
    r = total(p[:target] + p[target + 1 :])
    if r == 0.0:
        return 0.0, 0.0
    slope = p[target] * index_loss(x, target, temperature) if p[target] else 0.0
    return r**gamma, r**gamma + gamma * r ** (gamma - 1.0) * slope


def masked(f, x, c, where, **options):
    """`f`, row_loss or row_gradient, of the classes that take part; a loss is c_j inf more of those that do not."""
    if all(where):
        return f(x, c, **options)
    kept, c_kept = ([v for v, part in zip(a, where, strict=True) if part] for a in (x, c))
    if f is row_gradient:
        return selected(lambda k: f(k, c_kept, **options), x, where, 0.0)
    outside = [a * INF for a, part in zip(c, where, strict=True) if a != 0.0 and not part]
    return total([*outside, f(kept, c_kept, **options) if kept else 0.0]) * (
        options["sample_weight"] if outside else 1.0
    )


def cross_entropy(
    rows,
    targets,
    temperature=1.0,
    reduction="mean",
    ignore_index=-100,
    *,
    weight=None,
    sample_weight=None,
    label_smoothing=0.0,
    z_loss=0.0,
    softcap=None,
    focal_gamma=0.0,
    where=None,
    normalizer=None,
):
    """(loss, gradient) of a batch; a target is as in `target_probabilities`, `where` a list of rows.

    `temperature` and `sample_weight` are numbers or lists of one number per row. An ignored row has zero loss
    and zero gradient and does not count in the mean, which divides by `normalizer` or by the number of rows;
    with index targets a row counts as the weight of its class. The gradient of "none", where the loss is a
    list, is that of "sum".
    """
    losses, gradient, counted = [], [], []
    for i, (x, target) in enumerate(zip(rows, targets, strict=True)):
        t = target_probabilities(target, len(x), ignore_index)
        if t is None:
            losses.append(0.0)
            gradient.append([0.0] * len(x))
            continue
        part = [True] * len(x) if where is None else where[i]
        c = coefficients(t, weight, label_smoothing, part)
        options = {
            "sample_weight": 1.0 if sample_weight is None else _of_row(sample_weight, i),
            "temperature": _of_row(temperature, i),
            "z_loss": z_loss,
            "softcap": softcap,
        }
        loss, row = masked(row_loss, x, c, part, **options), masked(row_gradient, x, c, part, **options)
        if focal_gamma:
            kept = [v for v, takes_part in zip(capped(x, softcap), part, strict=True) if takes_part]
            of_loss, of_row = (
                focal_factors(kept, sum(part[:target]), focal_gamma, options["temperature"])
                if part[target]
                else (1.0, 1.0)
            )
            loss, row = loss * of_loss, [of_row * g for g in row]
        losses.append(loss)
        gradient.append(row)
        counted.append(weight[target] if weight and not isinstance(target, (list, tuple)) else 1.0)
    if reduction == "none":
        return losses, gradient
    if reduction == "sum":
        return total(losses), gradient
    if not counted:
        return (NAN if normalizer is None else 0.0), gradient
    divisor = total(counted) if normalizer is None else normalizer
    return total(losses) / divisor, [[g / divisor for g in row] for row in gradient]


def _of_row(values, i):
    return values[i] if isinstance(values, list) else values


def grad_hess(x, target, sample_weight=1.0, hessian="diagonal", eps=1e-16):
    """Gradient and second derivatives of a row's loss by the raw scores, as boosting libraries ask for them.

    The second derivative is sum(t) p (1 - p), the diagonal of the Hessian [Bishop, (4.110)]; "upper" doubles
    it, "friedman" multiplies it by K/(K-1) [Friedman], "residual" takes |p - t| instead.
    """
    t = target_probabilities(target, len(x), None)
    p, k = softmax(x), len(x)
    gradient = [sample_weight * (a * total(t) - b) for a, b in zip(p, t, strict=True)]
    if hessian == "residual":
        second = [abs(a - b) for a, b in zip(p, t, strict=True)]
    else:
        factor = {"diagonal": 1.0, "upper": 2.0, "friedman": k / (k - 1) if k > 1 else 1.0}[hessian]
        second = [factor * total(t) * p[j] * total(p[:j] + p[j + 1 :]) for j in range(k)]
    return gradient, [max(sample_weight * v, eps) for v in second]
