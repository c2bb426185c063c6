"""What a user of Numba writes: one loop over rows per operation, classes along the last axis."""

import math

try:
    from numba import njit, prange
except ImportError:  # peers.py says so where it matters
    njit, prange = None, range

OPERATIONS = {}


def kernel(function):
    OPERATIONS[function.__name__] = function
    return function


def compiled(parallel):
    """{operation: compiled kernel}."""
    return {op: njit(f, fastmath=True, parallel=parallel) for op, f in OPERATIONS.items()}


@kernel
def softmax(x, y):
    for i in prange(x.shape[0]):
        m = x[i, 0]
        for j in range(x.shape[1]):
            m = max(m, x[i, j])
        s = m - m
        for j in range(x.shape[1]):
            e = math.exp(x[i, j] - m)
            y[i, j] = e
            s += e
        for j in range(x.shape[1]):
            y[i, j] /= s


@kernel
def log_softmax(x, y):
    for i in prange(x.shape[0]):
        m = x[i, 0]
        for j in range(x.shape[1]):
            m = max(m, x[i, j])
        s = m - m
        for j in range(x.shape[1]):
            s += math.exp(x[i, j] - m)
        shift = m + math.log(s)
        for j in range(x.shape[1]):
            y[i, j] = x[i, j] - shift


@kernel
def logsumexp(x, y):
    for i in prange(x.shape[0]):
        m = x[i, 0]
        for j in range(x.shape[1]):
            m = max(m, x[i, j])
        s = m - m
        for j in range(x.shape[1]):
            s += math.exp(x[i, j] - m)
        y[i] = m + math.log(s)


@kernel
def cross_entropy(x, t, y):
    loss = 0.0
    for i in prange(x.shape[0]):
        m = x[i, 0]
        for j in range(x.shape[1]):
            m = max(m, x[i, j])
        picked = x[i, t[i]] - m
        s = m - m
        for j in range(x.shape[1]):
            e = math.exp(x[i, j] - m)
            y[i, j] = e
            s += e
        for j in range(x.shape[1]):
            y[i, j] /= s
        y[i, t[i]] -= 1
        loss += math.log(s) - picked
    return loss


@kernel
def cross_entropy_soft(x, q, y):
    loss = 0.0
    for i in prange(x.shape[0]):
        m = x[i, 0]
        for j in range(x.shape[1]):
            m = max(m, x[i, j])
        s = m - m
        picked = m - m
        for j in range(x.shape[1]):
            d = x[i, j] - m
            picked += q[i, j] * d
            e = math.exp(d)
            y[i, j] = e
            s += e
        for j in range(x.shape[1]):
            y[i, j] = y[i, j] / s - q[i, j]
        loss += math.log(s) - picked
    return loss


@kernel
def jacobian(p, y):
    for i in prange(p.shape[0]):
        for j in range(p.shape[1]):
            for k in range(p.shape[1]):
                y[i, j, k] = -p[i, j] * p[i, k]
            y[i, j, j] += p[i, j]


@kernel
def vjp(p, g, y):
    for i in prange(p.shape[0]):
        s = p[i, 0] - p[i, 0]
        for j in range(p.shape[1]):
            s += p[i, j] * g[i, j]
        for j in range(p.shape[1]):
            y[i, j] = p[i, j] * (g[i, j] - s)


@kernel
def grad_hess(x, t, y, h):
    for i in prange(x.shape[0]):
        m = x[i, 0]
        for j in range(x.shape[1]):
            m = max(m, x[i, j])
        s = m - m
        for j in range(x.shape[1]):
            e = math.exp(x[i, j] - m)
            y[i, j] = e
            s += e
        for j in range(x.shape[1]):
            p = y[i, j] / s
            h[i, j] = max(2 * p * (1 - p), 1e-16)
            y[i, j] = p
        y[i, t[i]] -= 1
