"""An adapter per peer: what it can do, how its buffers are prepared, and the statement that is timed."""

import importlib
import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import cells
import numpy as np

try:
    from numba import njit, prange
except ImportError:  # the adapter of Numba says so
    njit, prange = None, range

PARALLEL_FROM = 75_000  # elements: where peers are told a number of threads, they get one below this
BUFFERS = ("x", "t", "q", "p", "g", "w", "y", "h", "kept", "dx", "dw")


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
    """An operation that a peer has is a statement in `calls`, or a method of that name: Problem -> Job.

    `results` has the expressions of what the statements computed where that is not y. A peer that is not installed
    raises an ImportError when it is made.
    """

    name = library = ""
    dtypes = ("float32", "float64")
    axes = (-1, 0)
    in_place = True
    put_back = "copyto(y, kept)"
    calls: ClassVar = {}
    results: ClassVar = {
        "cross_entropy": "loss, y",
        "cross_entropy_soft": "loss, y",
        "grad_hess": "y, h",
        "linear_cross_entropy": "loss, dx, dw",
    }

    def __init__(self, threads):
        self.threads = threads
        self.module = importlib.import_module(self.library)

    @property
    def version(self):
        return self.module.__version__

    def can(self, cell):
        return (
            (cell.op in self.calls or hasattr(self, cell.op))
            and cell.dtype in self.dtypes
            and cell.axis in self.axes
            and (self.in_place or not cell.in_place)
        )

    def job(self, problem: cells.Problem):
        op = problem.cell.op
        if hasattr(self, op):
            job = getattr(self, op)(problem)
        else:
            job = Job(self.calls[op], self.names(problem), self.results.get(op, "y"))
        if problem.cell.in_place and not job.before:
            job.before = self.put_back
            job.names["copyto"] = np.copyto
        return job

    def names(self, problem):
        """The names a statement may use: the functions of the module, the problem's arrays and its axis."""
        return vars(self.module) | problem.arrays() | {"axis": problem.axis}


class Csoftmax(Peer):
    name = library = "csoftmax"
    dtypes = ("float32", "float64", "float16", "bfloat16")
    calls: ClassVar = {
        "softmax": "softmax(x, axis, out=y)",
        "log_softmax": "log_softmax(x, axis, out=y)",
        "logsumexp": "logsumexp(x, axis, out=y)",
        "cross_entropy": "loss, _ = cross_entropy(x, t, axis, reduction='sum', return_grad=True, out=y)",
        "cross_entropy_soft": "loss, _ = cross_entropy(x, q, axis, reduction='sum', return_grad=True, out=y)",
        "jacobian": "softmax_jacobian(p, out=y)",
        "vjp": "softmax_vjp(p, g, axis, out=y)",
        "grad_hess": "softmax_grad_hess(x, t, hessian='upper', out=(y, h))",
        "linear_cross_entropy": "loss, _ = linear_cross_entropy(x, w, t, reduction='sum', return_grad=True, "
        "out=(dx, dw, None))",
    }

    def __init__(self, threads):
        super().__init__(threads)
        self.module.set_num_threads(threads)

    def missing(self, cell):
        """Why this build cannot do the cell, an empty string if it can: asked of it, on a tiny problem."""
        try:
            job = self.job(cells.Problem(cell.tiny))
            exec(job.call, job.names)
        except (NameError, NotImplementedError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        return ""


class NumPy(Peer):
    """The formulas as a careful user writes them: every step into a buffer that exists."""

    name, library = "NumPy formula", "numpy"
    dtypes = ("float32", "float64", "float16")
    calls: ClassVar = {
        "softmax": """
subtract(x, x.max(axis, keepdims=True), out=y)
exp(y, out=y)
divide(y, y.sum(axis, keepdims=True), out=y)""",
        "log_softmax": """
subtract(x, x.max(axis, keepdims=True), out=y)
exp(y, out=e)
subtract(y, log(e.sum(axis, keepdims=True)), out=y)""",
        "logsumexp": """
m = x.max(axis, keepdims=True)
subtract(x, m, out=e)
exp(e, out=e)
add(log(e.sum(axis)), m.squeeze(axis), out=y)""",
        "cross_entropy": """
subtract(x, x.max(axis, keepdims=True), out=y)
picked = y[at].sum()
exp(y, out=y)
s = y.sum(axis, keepdims=True)
divide(y, s, out=y)
y[at] -= 1
loss = log(s).sum() - picked""",
        "cross_entropy_soft": """
subtract(x, x.max(axis, keepdims=True), out=y)
picked = vdot(y, q)
exp(y, out=y)
s = y.sum(axis, keepdims=True)
divide(y, s, out=y)
subtract(y, q, out=y)
loss = log(s).sum() - picked""",
        "jacobian": "multiply(p[:, :, None], -p[:, None, :], out=y); add(diagonal, p, out=diagonal)",
        "vjp": "subtract(g, expand_dims(vecdot(p, g, axis=axis), axis), out=y); multiply(p, y, out=y)",
    }
    # XGBoost's formula (up to 3.2); LightGBM's differs in the factor.
    calls["grad_hess"] = (
        calls["softmax"]
        + """
subtract(1, y, out=h)
multiply(h, y, out=h)
multiply(h, 2, out=h)
maximum(h, 1e-16, out=h)
y[at] -= 1"""
    )
    calls["linear_cross_entropy"] = (
        "matmul(x, w.T, out=y)"
        + calls["cross_entropy"].replace("(x", "(y").replace(" x.", " y.")
        + "\nmatmul(y, w, out=dx)\nmatmul(y.T, x, out=dw)"
    )

    def can(self, cell):
        float16_products = cell.op == "linear_cross_entropy" and cell.dtype == "float16"  # 300 times slower
        return super().can(cell) and not float16_products

    def names(self, q):
        """Adds `at`, the index of each row's target, and what a statement needs to write to."""
        names = super().names(q)
        if "t" in names:
            rows = np.arange(q.cell.rows)
            names["at"] = (rows, names["t"]) if q.axis == -1 else (names["t"], rows)
        if q.cell.op in ("log_softmax", "logsumexp"):
            names["e"] = np.empty_like(names["x"])
        if q.cell.op == "jacobian":
            names["diagonal"] = np.einsum("ijj->ij", names["y"])
        if q.cell.op == "linear_cross_entropy":
            names["y"] = np.empty((q.cell.shape[0], q.cell.classes), q.dtype)
        return names


class SciPy(Peer):
    name, library = "SciPy", "scipy.special"
    in_place = False
    calls: ClassVar = {
        "softmax": "y = softmax(x, axis)",
        "log_softmax": "y = log_softmax(x, axis)",
        "logsumexp": "y = logsumexp(x, axis)",
    }

    @property
    def version(self):
        return importlib.import_module("scipy").__version__


class ScikitLearn(Peer):
    name, library = "scikit-learn", "sklearn"
    axes = (-1,)
    calls: ClassVar = {
        "cross_entropy": "model.loss_gradient(t, x, None, losses, y, threads)",
        "grad_hess": "model.gradient_hessian(t, x, None, y, h, threads)",
    }
    results: ClassVar = {"cross_entropy": "losses.sum(), y", "grad_hess": "y, 2 * h"}

    def names(self, q):
        from sklearn._loss import HalfMultinomialLoss

        names = super().names(q) | {"model": HalfMultinomialLoss(n_classes=q.cell.classes)}
        names["t"] = names["t"].astype(q.dtype)
        names["losses"] = np.zeros(q.cell.rows, q.dtype)
        return names | {"threads": self.threads if q.cell.elements >= PARALLEL_FROM else 1}


class Numba(Peer):
    """The loops over rows below, compiled with fastmath; in parallel where the cell is worth it."""

    name, library = "Numba", "numba"
    calls: ClassVar = {
        "softmax": "run(x, y)",
        "log_softmax": "run(x, y)",
        "logsumexp": "run(x, y)",
        "cross_entropy": "loss = run(x, t, y)",
        "cross_entropy_soft": "loss = run(x, q, y)",
        "jacobian": "run(p, y)",
        "vjp": "run(p, g, y)",
        "grad_hess": "run(x, t, y, h)",
    }

    def __init__(self, threads):
        super().__init__(threads)
        self.module.set_num_threads(min(threads, self.module.config.NUMBA_NUM_THREADS))
        self.kernels = [compiled(parallel) for parallel in (False, True)]

    def job(self, q):
        job = super().job(q)
        if q.axis == 0 and q.cell.op != "logsumexp":
            job.result += ".T"
        return job

    def names(self, q):
        parallel = self.threads > 1 and q.cell.elements >= PARALLEL_FROM
        names = super().names(q) | {"run": self.kernels[parallel][q.cell.op]}
        if q.axis == 0:  # the kernels take classes last
            names |= {k: names[k].T for k in ("x", "y", "q", "p", "g", "kept") if k in names}
        return names


# What a user of Numba writes: one loop over rows per operation, classes along the last axis

KERNELS = {}


def kernel(function):
    KERNELS[function.__name__] = function
    return function


def compiled(parallel):
    """{operation: compiled kernel}."""
    return {op: njit(f, fastmath=True, parallel=parallel) for op, f in KERNELS.items()}


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


# The array frameworks, whose arrays are not NumPy's


class PyTorch(Peer):
    """Tensors over the memory of NumPy arrays; out= wherever there is one; losses without autograd."""

    name, library = "PyTorch", "torch"
    dtypes = ("float32", "float64", "float16", "bfloat16")
    put_back = "y.copy_(kept)"
    calls: ClassVar = {
        "softmax": "softmax(x, axis, out=y)",
        "log_softmax": "log_softmax(x, axis, out=y)",
        "logsumexp": "logsumexp(x, axis, out=y)",
        "cross_entropy": """
log_softmax(x, axis, out=y)
loss = -y.gather(axis, t1).sum()
y.exp_()
y.scatter_add_(axis, t1, minus)""",
        "cross_entropy_soft": """
log_softmax(x, axis, out=y)
loss = -dot(y.view(-1), q.view(-1))
y.exp_()
y.sub_(q)""",
        "jacobian": "mul(p[:, :, None], -p[:, None, :], out=y); diagonal.add_(p)",
        "vjp": "_softmax_backward_data(g, p, axis, p.dtype, grad_input=y)",
        "grad_hess": """
softmax(x, axis, out=y)
mul(y, y, out=h)
sub(y, h, out=h)
h.mul_(2).clamp_(min=1e-16)
y.scatter_add_(axis, t1, minus)""",
        "linear_cross_entropy": """
x.grad = w.grad = None
loss = linear_cross_entropy(x, w, t, reduction="sum", options=options)
loss.backward()""",
    }
    results: ClassVar = dict.fromkeys(calls, "y_") | {
        "cross_entropy": "loss.item(), y_",
        "cross_entropy_soft": "loss.item(), y_",
        "grad_hess": "y_, h_",
        "linear_cross_entropy": "loss.item(), x.grad.float().numpy(), w.grad.float().numpy()",
    }

    def __init__(self, threads):
        super().__init__(threads)
        self.module.set_num_threads(threads)

    def tensor(self, array):
        if array.dtype.name == "bfloat16":
            return self.module.from_numpy(array.view(np.int16)).view(self.module.bfloat16)
        return self.module.from_numpy(array)

    def names(self, q):
        """Tensors under their names, the NumPy arrays of the results under y_ and h_."""
        arrays = q.arrays()
        names = {k: self.tensor(v) for k, v in arrays.items() if k in BUFFERS}
        names |= {f"{k}_": arrays[k] for k in ("y", "h") if k in arrays}
        if q.cell.op == "linear_cross_entropy":
            names |= {k: names[k].requires_grad_() for k in ("x", "w")}
            names["linear_cross_entropy"] = self.module.nn.functional.linear_cross_entropy
            names["options"] = self.module.nn.LinearCrossEntropyOptions()
        elif "t" in names:
            names["t1"] = names["t"].unsqueeze(q.axis)
            names["minus"] = self.module.full_like(names["t1"], -1, dtype=names["x"].dtype)
        if q.cell.op == "jacobian":
            names["diagonal"] = names["y"].diagonal(dim1=1, dim2=2)
        return vars(self.module) | names | {"axis": q.axis}


class OneDnn(PyTorch):
    """PyTorch's way into oneDNN; its result is a tensor of its own."""

    name = "oneDNN"
    dtypes = ("float32",)
    axes = (-1,)
    in_place = False
    calls: ClassVar = {"softmax": "result = x.softmax(-1)"}
    results: ClassVar = {"softmax": "result.to_dense().numpy()"}

    def names(self, q):
        names = super().names(q)
        return names | {"x": names["x"].to_mkldnn()}


class PyTorchAutograd(PyTorch):
    """The losses as most people write them."""

    name = "PyTorch autograd"
    in_place = False
    calls: ClassVar = {
        op: f"x.grad = None; loss = cross_entropy(logits, {target}, reduction='sum'); loss.backward()"
        for op, target in {"cross_entropy": "t", "cross_entropy_soft": "q"}.items()
    }

    def job(self, q):
        job = super().job(q)
        if q.axis == 0:
            job.call = job.call.replace("logits, q", "logits, q.T")
        job.call = job.call.replace("logits", "x" if q.axis == -1 else "x.T")
        job.result = f"loss.item(), x.grad.{'double' if q.cell.dtype == 'float64' else 'float'}().numpy()"
        return job

    def names(self, q):
        names = super().names(q) | {"cross_entropy": self.module.nn.functional.cross_entropy}
        names["x"].requires_grad_()
        return names


class Jax(Peer):
    """One jitted function per operation, given its last output to write over: buffers are reused here too."""

    name, library = "JAX jit", "jax"
    dtypes = ("float32", "float64", "float16", "bfloat16")

    def __init__(self, threads):
        super().__init__(threads)
        self.module.config.update("jax_enable_x64", True)
        # One call at a time is what is measured; waiting for it is quicker without the dispatch thread.
        self.module.config.update("jax_cpu_enable_async_dispatch", False)
        warnings.filterwarnings("ignore", message="Some donated buffers")
        import jax.numpy

        self.np = jax.numpy

    def _job(self, q, function, inputs, outputs):
        """`function` maps the inputs to the tuple of outputs; both are given by name."""
        arrays, jit = q.arrays(), self.module.jit
        names = {k: self.np.asarray(arrays[k]) for k in inputs} | {"asarray": np.asarray}
        arguments, result = ", ".join(inputs), "tuple(map(asarray, out))"
        if q.cell.in_place:
            x = q.overwritten
            run = jit(function, donate_argnums=inputs.index(x))
            names |= {"run": run, "array": self.np.array, "kept": arrays["kept"]}
            call = f"out = run({arguments}); out[-1].block_until_ready()"
            return Job(call, names, result, f"{x} = array(kept); {x}.block_until_ready()")
        spare = [self.np.zeros(()) if k == "loss" else self.np.zeros_like(arrays[k]) for k in outputs]
        first = len(inputs)
        donated = tuple(range(first, first + len(spare)))
        run = jit(lambda *a: function(*a[:first]), donate_argnums=donated, keep_unused=True)
        call = f"out[:] = run({arguments}, *out); out[-1].block_until_ready()"
        return Job(call, names | {"run": run, "out": spare}, result)

    def softmax(self, q):
        return self._job(q, lambda x: (self.module.nn.softmax(x, q.axis),), "x", "y")

    def log_softmax(self, q):
        return self._job(q, lambda x: (self.module.nn.log_softmax(x, q.axis),), "x", "y")

    def logsumexp(self, q):
        return self._job(q, lambda x: (self.module.nn.logsumexp(x, q.axis),), "x", "y")

    def _nll(self, x, t, axis):
        picked = self.np.take_along_axis(x, self.np.expand_dims(t, axis), axis)
        return (self.module.nn.logsumexp(x, axis, keepdims=True) - picked).sum()

    def cross_entropy(self, q):
        both = self.module.value_and_grad(self._nll)
        return self._job(q, lambda x, t: both(x, t, q.axis), ("x", "t"), ("loss", "y"))

    def cross_entropy_soft(self, q):
        def loss(x, target):  # targets sum to one
            return (self.module.nn.logsumexp(x, q.axis) - (target * x).sum(q.axis)).sum()

        return self._job(q, self.module.value_and_grad(loss), ("x", "q"), ("loss", "y"))

    def jacobian(self, q):
        def jacobian(p):
            return (p[:, :, None] * (self.np.eye(p.shape[1], dtype=p.dtype) - p[:, None, :]),)

        return self._job(q, jacobian, "p", "y")

    def vjp(self, q):
        return self._job(q, lambda p, g: (p * (g - (p * g).sum(q.axis, keepdims=True)),), ("p", "g"), "y")

    def grad_hess(self, q):
        def grad_hess(x, t):
            p = self.module.nn.softmax(x, -1)
            hot = self.np.arange(x.shape[-1]) == t[:, None]
            return p - hot.astype(p.dtype), self.np.maximum(2 * p * (1 - p), 1e-16).astype(p.dtype)

        return self._job(q, grad_hess, ("x", "t"), ("y", "h"))

    def linear_cross_entropy(self, q):
        def both(x, w, t):
            nll = self.module.value_and_grad(lambda x, w: self._nll(x @ w.T, t, -1), argnums=(0, 1))
            loss, grads = nll(x, w)
            return loss, *grads

        return self._job(q, both, ("x", "w", "t"), ("loss", "dx", "dw"))


class OnnxRuntime(Peer):
    """A graph of one or a few nodes, with inputs and outputs bound to our buffers."""

    name, library = "ONNX Runtime", "onnxruntime"
    dtypes = ("float32", "float64", "float16")
    in_place = False

    def __init__(self, threads):
        super().__init__(threads)
        import onnx

        self.onnx = onnx

    def _job(self, q, nodes, inputs, constants=()):
        h, arrays = self.onnx.helper, q.arrays()
        kind = h.np_dtype_to_tensor_dtype(q.dtype)
        values = [h.make_tensor_value_info(k, kind, arrays[k].shape) for k in inputs]
        result = h.make_tensor_value_info("y", kind, arrays["y"].shape)
        graph = h.make_graph(nodes, q.cell.op, values, [result], initializer=constants)
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
        options = self.module.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 4
        session = self.module.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for k in inputs:
            binding.bind_cpu_input(k, arrays[k])
        y = arrays["y"]
        binding.bind_output("y", "cpu", 0, q.dtype, y.shape, y.ctypes.data)
        return Job("run(binding)", arrays | {"run": session.run_with_iobinding, "binding": binding})

    def softmax(self, q):
        return self._job(q, [self.onnx.helper.make_node("Softmax", ["x"], ["y"], axis=q.axis)], "x")

    def log_softmax(self, q):
        return self._job(q, [self.onnx.helper.make_node("LogSoftmax", ["x"], ["y"], axis=q.axis)], "x")

    def logsumexp(self, q):
        axes = self.onnx.numpy_helper.from_array(np.array([q.axis]), "axes")
        node = self.onnx.helper.make_node("ReduceLogSumExp", ["x", "axes"], ["y"], keepdims=0)
        return self._job(q, [node], "x", [axes])

    def vjp(self, q):
        node = self.onnx.helper.make_node
        axes = self.onnx.numpy_helper.from_array(np.array([q.axis]), "axes")
        nodes = [
            node("Mul", ["p", "g"], ["pg"]),
            node("ReduceSum", ["pg", "axes"], ["s"], keepdims=1),
            node("Sub", ["g", "s"], ["d"]),
            node("Mul", ["p", "d"], ["y"]),
        ]
        return self._job(q, nodes, "pg", [axes])


ALL = (Csoftmax, PyTorch, OneDnn, PyTorchAutograd, Jax, OnnxRuntime, Numba, SciPy, ScikitLearn, NumPy)
