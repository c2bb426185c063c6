"""The adapters of the array frameworks: PyTorch, JAX and ONNX Runtime, whose arrays are not NumPy's."""

import warnings

import numpy as np
from peers import Job, Peer

BUFFERS = ("x", "t", "q", "p", "g", "w", "y", "h", "kept", "dx", "dw")


class PyTorch(Peer):
    """Tensors over the memory of NumPy arrays; out= wherever there is one; losses without autograd."""

    name, library = "PyTorch", "torch"
    dtypes = ("float32", "float64", "float16", "bfloat16")

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
        if "t" in names and q.cell.op != "linear_cross_entropy":
            names["t1"] = names["t"].unsqueeze(q.axis)
            names["minus"] = self.module.full_like(names["t1"], -1, dtype=names["x"].dtype)
        return vars(self.module) | names | {"axis": q.axis}

    def _job(self, q, call, result="y_", **names):
        return Job(call, self.names(q) | names, result, "y.copy_(kept)" if q.cell.in_place else "")

    def softmax(self, q):
        return self._job(q, "softmax(x, axis, out=y)")

    def log_softmax(self, q):
        return self._job(q, "log_softmax(x, axis, out=y)")

    def logsumexp(self, q):
        return self._job(q, "logsumexp(x, axis, out=y)")

    def cross_entropy(self, q):
        call = """
log_softmax(x, axis, out=y)
loss = -y.gather(axis, t1).sum()
y.exp_()
y.scatter_add_(axis, t1, minus)"""
        return self._job(q, call, "loss.item(), y_")

    def cross_entropy_soft(self, q):
        call = """
log_softmax(x, axis, out=y)
loss = -dot(y.view(-1), q.view(-1))
y.exp_()
y.sub_(q)"""
        return self._job(q, call, "loss.item(), y_")

    def jacobian(self, q):
        job = self._job(q, "mul(p[:, :, None], -p[:, None, :], out=y); diagonal.add_(p)")
        job.names["diagonal"] = job.names["y"].diagonal(dim1=1, dim2=2)
        return job

    def vjp(self, q):
        return self._job(q, "_softmax_backward_data(g, p, axis, p.dtype, grad_input=y)")

    def grad_hess(self, q):
        call = """
softmax(x, axis, out=y)
mul(y, y, out=h)
sub(y, h, out=h)
h.mul_(2).clamp_(min=1e-16)
y.scatter_add_(axis, t1, minus)"""
        return self._job(q, call, "y_, h_")

    def linear_cross_entropy(self, q):
        call = """
x.grad = w.grad = None
loss = linear_cross_entropy(x, w, t, reduction="sum", options=options)
loss.backward()"""
        functional, nn = self.module.nn.functional, self.module.nn
        job = self._job(q, call, "loss.item(), x.grad.float().numpy(), w.grad.float().numpy()")
        job.names |= {k: job.names[k].requires_grad_() for k in ("x", "w")}
        job.names["linear_cross_entropy"] = functional.linear_cross_entropy
        job.names["options"] = nn.LinearCrossEntropyOptions()
        return job


class OneDnn(PyTorch):
    """PyTorch's way into oneDNN; its result is a tensor of its own."""

    name = "oneDNN"
    dtypes = ("float32",)
    in_place = False

    def can(self, cell):
        return cell.op == "softmax" and cell.axis == -1 and super().can(cell)

    def softmax(self, q):
        names = self.names(q)
        names["x"] = names["x"].to_mkldnn()
        return Job("result = x.softmax(-1)", names, "result.to_dense().numpy()")


class PyTorchAutograd(PyTorch):
    """The losses as most people write them."""

    name = "PyTorch autograd"
    in_place = False

    def can(self, cell):
        return cell.op in ("cross_entropy", "cross_entropy_soft") and super().can(cell)

    def _loss(self, q, target):
        rows = "x" if q.axis == -1 else "x.T"
        if target == "q" and q.axis == 0:
            target = "q.T"
        call = f"x.grad = None; loss = cross_entropy({rows}, {target}, reduction='sum'); loss.backward()"
        names = self.names(q)
        names["x"].requires_grad_()
        names["cross_entropy"] = self.module.nn.functional.cross_entropy
        wide = "double" if q.cell.dtype == "float64" else "float"
        return Job(call, names, f"loss.item(), x.grad.{wide}().numpy()")

    def cross_entropy(self, q):
        return self._loss(q, "t")

    def cross_entropy_soft(self, q):
        return self._loss(q, "q")


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
        session = self.module.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
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
