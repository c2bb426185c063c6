"""One small adapter per rival: what it can do, how its buffers are prepared, and the statement timed."""

import importlib
from dataclasses import dataclass

import numba_kernels
import numpy as np
from problem import Problem

PARALLEL_FROM = 75_000  # elements: where peers are told a number of threads, they get one below this


@dataclass
class Job:
    """A statement to time, the names it uses, and an expression for what it computed.

    `before` is run untimed before every call: it puts the input of an in-place cell back.
    """

    call: str
    names: dict
    result: str = "y"
    before: str = ""


class Peer:
    """An operation a peer has is a method of that name: Problem -> Job. ImportError: it is not installed."""

    name = library = ""
    dtypes = ("float32", "float64")
    axes = (-1, 0)
    in_place = True

    def __init__(self, threads):
        self.threads = threads
        self.module = importlib.import_module(self.library)

    @property
    def version(self):
        return self.module.__version__

    def can(self, cell):
        return (
            hasattr(self, cell.op)
            and cell.dtype in self.dtypes
            and cell.axis in self.axes
            and (self.in_place or not cell.in_place)
        )

    def job(self, problem: Problem):
        job = getattr(self, problem.cell.op)(problem)
        if problem.cell.in_place and not job.before:
            job.before = "copyto(y, kept)"
            job.names["copyto"] = np.copyto
        return job

    def arrays(self, problem, module=None):
        """The names a statement may use: the problem's arrays, its axis, and the functions of a module."""
        return vars(module or self.module) | problem.arrays() | {"axis": problem.axis}


class Csoftmax(Peer):
    name = library = "csoftmax"
    dtypes = ("float32", "float64", "float16", "bfloat16")

    def __init__(self, threads):
        super().__init__(threads)
        self.module.set_num_threads(threads)

    def softmax(self, q):
        return Job("softmax(x, axis, out=y)", self.arrays(q))

    def log_softmax(self, q):
        return Job("log_softmax(x, axis, out=y)", self.arrays(q))

    def logsumexp(self, q):
        return Job("logsumexp(x, axis, out=y)", self.arrays(q))

    def cross_entropy(self, q):
        call = "loss, _ = cross_entropy(x, t, axis, reduction='sum', return_grad=True, out=y)"
        return Job(call, self.arrays(q), "loss, y")

    def cross_entropy_soft(self, q):
        call = "loss, _ = cross_entropy(x, q, axis, reduction='sum', return_grad=True, out=y)"
        return Job(call, self.arrays(q), "loss, y")

    def jacobian(self, q):
        return Job("softmax_jacobian(p, out=y)", self.arrays(q))

    def vjp(self, q):
        return Job("softmax_vjp(p, g, axis, out=y)", self.arrays(q))

    def grad_hess(self, q):
        return Job("softmax_grad_hess(x, t, hessian='upper', out=(y, h))", self.arrays(q), "y, h")

    def linear_cross_entropy(self, q):
        options = "reduction='sum', return_grad=True, out=(dx, dw, None)"
        call = f"loss, _ = linear_cross_entropy(x, w, t, {options})"
        return Job(call, self.arrays(q), "loss, dx, dw")

    def missing(self, cell):
        """Why this build cannot do the cell, an empty string if it can: asked of it, on a tiny problem."""
        try:
            job = self.job(Problem(cell.tiny))
            exec(job.call, job.names)
        except (NameError, NotImplementedError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        return ""


class NumPy(Peer):
    """The formulas as a careful user writes them: every step into a buffer that exists."""

    name, library = "NumPy formula", "numpy"
    dtypes = ("float32", "float64", "float16")

    def can(self, cell):
        float16_products = cell.op == "linear_cross_entropy" and cell.dtype == "float16"  # 300 times slower
        return super().can(cell) and not float16_products

    def names(self, q):
        """Adds `at`, the index of each row's target, and `e`, a scratch like y."""
        names = self.arrays(q)
        if "t" in names:
            rows = np.arange(q.cell.rows)
            names["at"] = (rows, names["t"]) if q.axis == -1 else (names["t"], rows)
        return names

    def softmax(self, q):
        call = """
subtract(x, x.max(axis, keepdims=True), out=y)
exp(y, out=y)
divide(y, y.sum(axis, keepdims=True), out=y)"""
        return Job(call, self.names(q))

    def log_softmax(self, q):
        call = """
subtract(x, x.max(axis, keepdims=True), out=y)
exp(y, out=e)
subtract(y, log(e.sum(axis, keepdims=True)), out=y)"""
        names = self.names(q)
        return Job(call, names | {"e": np.empty_like(names["y"])})

    def logsumexp(self, q):
        call = """
m = x.max(axis, keepdims=True)
subtract(x, m, out=e)
exp(e, out=e)
add(log(e.sum(axis)), m.squeeze(axis), out=y)"""
        names = self.names(q)
        return Job(call, names | {"e": np.empty_like(names["x"])})

    def cross_entropy(self, q):
        call = """
subtract(x, x.max(axis, keepdims=True), out=y)
picked = y[at].sum()
exp(y, out=y)
s = y.sum(axis, keepdims=True)
divide(y, s, out=y)
y[at] -= 1
loss = log(s).sum() - picked"""
        return Job(call, self.names(q), "loss, y")

    def cross_entropy_soft(self, q):
        call = """
subtract(x, x.max(axis, keepdims=True), out=y)
picked = vdot(y, q)
exp(y, out=y)
s = y.sum(axis, keepdims=True)
divide(y, s, out=y)
subtract(y, q, out=y)
loss = log(s).sum() - picked"""
        return Job(call, self.names(q), "loss, y")

    def jacobian(self, q):
        names = self.names(q)
        names["diagonal"] = np.einsum("ijj->ij", names["y"])
        return Job("multiply(p[:, :, None], -p[:, None, :], out=y); add(diagonal, p, out=diagonal)", names)

    def vjp(self, q):
        call = "subtract(g, expand_dims(vecdot(p, g, axis=axis), axis), out=y); multiply(p, y, out=y)"
        return Job(call, self.names(q))

    def grad_hess(self, q):
        """XGBoost's formula (up to 3.2); LightGBM's differs in the factor."""
        call = self.softmax(q).call + """
subtract(1, y, out=h)
multiply(h, y, out=h)
multiply(h, 2, out=h)
maximum(h, 1e-16, out=h)
y[at] -= 1"""
        return Job(call, self.names(q), "y, h")

    def linear_cross_entropy(self, q):
        names = self.names(q)
        y = np.empty((q.cell.shape[0], q.cell.classes), q.dtype)
        call = "matmul(x, w.T, out=y)" + self.cross_entropy(q).call.replace("(x", "(y").replace(" x.", " y.")
        call += "\nmatmul(y, w, out=dx)\nmatmul(y.T, x, out=dw)"
        return Job(call, names | {"y": y}, "loss, dx, dw")


class SciPy(Peer):
    name, library = "SciPy", "scipy.special"
    in_place = False

    @property
    def version(self):
        return importlib.import_module("scipy").__version__

    def softmax(self, q):
        return Job("y = softmax(x, axis)", self.arrays(q))

    def log_softmax(self, q):
        return Job("y = log_softmax(x, axis)", self.arrays(q))

    def logsumexp(self, q):
        return Job("y = logsumexp(x, axis)", self.arrays(q))


class ScikitLearn(Peer):
    name, library = "scikit-learn", "sklearn"
    axes = (-1,)

    def names(self, q):
        from sklearn._loss import HalfMultinomialLoss

        names = self.arrays(q) | {"model": HalfMultinomialLoss(n_classes=q.cell.classes)}
        names["t"] = names["t"].astype(q.dtype)
        names["losses"] = np.zeros(q.cell.rows, q.dtype)
        return names | {"threads": self.threads if q.cell.elements >= PARALLEL_FROM else 1}

    def cross_entropy(self, q):
        return Job("model.loss_gradient(t, x, None, losses, y, threads)", self.names(q), "losses.sum(), y")

    def grad_hess(self, q):
        return Job("model.gradient_hessian(t, x, None, y, h, threads)", self.names(q), "y, 2 * h")


class Numba(Peer):
    """Loops over rows, compiled with fastmath; in parallel where the cell is worth it."""

    name, library = "Numba", "numba"

    def __init__(self, threads):
        super().__init__(threads)
        self.module.set_num_threads(min(threads, self.module.config.NUMBA_NUM_THREADS))
        self.kernels = [numba_kernels.compiled(parallel) for parallel in (False, True)]

    def _job(self, q, arguments, result="y"):
        parallel = self.threads > 1 and q.cell.elements >= PARALLEL_FROM
        names = self.arrays(q) | {"run": self.kernels[parallel][q.cell.op]}
        if q.axis == 0:  # the kernels take classes last
            names |= {k: names[k].T for k in ("x", "y", "q", "p", "g", "kept") if k in names}
        if q.axis == 0 and q.cell.op != "logsumexp":
            result += ".T"
        loss = "loss = " if "loss" in result else ""
        return Job(f"{loss}run({arguments})", names, result)

    def softmax(self, q):
        return self._job(q, "x, y")

    def log_softmax(self, q):
        return self._job(q, "x, y")

    def logsumexp(self, q):
        return self._job(q, "x, y")

    def cross_entropy(self, q):
        return self._job(q, "x, t, y", "loss, y")

    def cross_entropy_soft(self, q):
        return self._job(q, "x, q, y", "loss, y")

    def jacobian(self, q):
        return self._job(q, "p, y")

    def vjp(self, q):
        return self._job(q, "p, g, y")

    def grad_hess(self, q):
        return self._job(q, "x, t, y, h", "y, h")
