"""csoftmax.torch beside the functions it calls: values, derivatives, layouts, and what PyTorch asks of operators."""

import doctest
import shutil

import numpy as np
import processes
import pytest

import csoftmax

torch = pytest.importorskip("torch", reason="needs torch")
ct = pytest.importorskip("csoftmax.torch")
gradcheck, gradgradcheck = torch.autograd.gradcheck, torch.autograd.gradgradcheck
OPS = torch.ops.csoftmax

ROWS, CLASSES, FEATURES = 6, 5, 3
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def numbers(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def logits(dtype=torch.float64):
    return numbers(ROWS, CLASSES, dtype=dtype).requires_grad_()


def layer():
    """x, w and bias of a linear layer."""
    shapes = (ROWS, FEATURES), (CLASSES, FEATURES), (CLASSES,)
    return [numbers(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes)]


LABELS = torch.tensor([0, 4, -100, 1, 1, 3])
MASK = torch.arange(1, ROWS * CLASSES + 1).reshape(ROWS, CLASSES) % 6 != 0
TARGETS = {
    "labels": LABELS,
    "probabilities": numbers(ROWS, CLASSES, seed=1).softmax(-1) * MASK,
    "pairs": (torch.tensor([[0, 1], [4, -100], [2, 2], [1, 3], [-100, -100], [3, 0]]), numbers(ROWS, 2).abs()),
}
OPTIONS = {
    "plain": {},
    "weight": {"weight": torch.arange(1.0, 6.0)},
    "smoothing": {"label_smoothing": 0.1, "weight": torch.arange(1.0, 6.0)},
    "z_loss": {"z_loss": 0.1, "temperature": torch.linspace(0.5, 2, ROWS)},
    "softcap": {"softcap": 2.0, "temperature": 1.5},
    "where": {"where": MASK},
    "rows": {"reduction": "none", "sample_weight": torch.linspace(0, 2, ROWS)},
    "sum": {"reduction": "sum", "ignore_index": -100},
    "normalizer": {"normalizer": 3.0},
    "focal": {"focal_gamma": 2.0},
}
CASES = [(t, o) for t in TARGETS for o in OPTIONS if o != "focal" or t == "labels"]
every_case = pytest.mark.parametrize(("target", "option"), CASES, ids=map("-".join, CASES))


def as_numpy(value):
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


def in_numpy(target, options):
    """The arguments of a loss as csoftmax itself takes them."""
    target = tuple(map(as_numpy, target)) if isinstance(target, tuple) else as_numpy(target)
    return target, {name: as_numpy(value) for name, value in options.items()}


# Values and gradients


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", [*FLOATS, torch.int32], ids=str)
def test_map_of_tensors(name, dtype):
    x = (4 * numbers(ROWS, CLASSES)).to(dtype)
    y = getattr(ct, name)(x, temperature=2.0)
    expected = getattr(csoftmax, name)(x.double().numpy(), temperature=2.0)
    assert y.dtype == (dtype if dtype.is_floating_point else torch.float64)
    eps = torch.finfo(y.dtype).eps
    np.testing.assert_allclose(y.double().numpy(), expected, rtol=4 * eps, atol=0)


def test_dtype_of_a_map_of_tensors():
    x = logits(torch.float32)
    y = ct.softmax(x, dtype=torch.float64)
    np.testing.assert_array_equal(as_numpy(y), csoftmax.softmax(as_numpy(x), dtype=np.float64))
    y[:, 0].sum().backward()
    assert x.grad.dtype is torch.float32


@every_case
def test_cross_entropy_of_tensors(target, option):
    x, options = logits(), OPTIONS[option]
    loss = ct.cross_entropy(x, TARGETS[target], **options)
    loss.sum().backward()
    target, options = in_numpy(TARGETS[target], options)
    expected = csoftmax.cross_entropy(as_numpy(x), target, **options, return_grad=True)
    np.testing.assert_array_equal(as_numpy(loss), expected[0])
    np.testing.assert_allclose(x.grad.numpy(), expected[1], rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_loss_of_each_dtype(dtype):
    x = logits(dtype)
    loss = ct.cross_entropy(x, LABELS)
    (2 * loss).backward()
    wide = as_numpy(x.double())
    value, gradient = csoftmax.cross_entropy(wide, LABELS.numpy(), return_grad=True)
    assert loss.dtype == (torch.float32 if dtype.itemsize == 2 else dtype)
    assert x.grad.dtype == dtype
    np.testing.assert_allclose(loss.item(), value, rtol=4 * torch.finfo(loss.dtype).eps)
    np.testing.assert_allclose(x.grad.double().numpy(), 2 * gradient, rtol=4 * torch.finfo(dtype).eps)


@every_case
def test_linear_cross_entropy_of_tensors(target, option):
    arguments, options = layer(), dict(OPTIONS[option])
    x, w, bias = arguments
    loss = ct.linear_cross_entropy(x, w, TARGETS[target], bias, **options, chunk_size=2)
    gradients = torch.autograd.grad(loss.sum(), arguments)
    target, options = in_numpy(TARGETS[target], options)
    value, expected = csoftmax.linear_cross_entropy(
        as_numpy(x), as_numpy(w), target, as_numpy(bias), **options, return_grad=True
    )
    np.testing.assert_allclose(as_numpy(loss), value, rtol=1e-13)
    for gradient, one in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(as_numpy(gradient), one, rtol=1e-12, atol=1e-15)


def test_linear_cross_entropy_of_more_axes():
    x, w, _ = layer()
    target = LABELS.reshape(2, 3)
    loss = ct.linear_cross_entropy(x.reshape(2, 3, FEATURES), w, target, reduction="none", where=torch.ones(5) > 0)
    expected = ct.cross_entropy(x @ w.T, LABELS, reduction="none").reshape(2, 3)
    np.testing.assert_allclose(as_numpy(loss), as_numpy(expected))
    with pytest.raises(IndexError, match=r"target\[1, 0\] = 5 is not a class index in \[0, 5\)"):
        ct.linear_cross_entropy(x.reshape(2, 3, FEATURES), w, torch.where(target == 1, 5, target))


def test_linear_cross_entropy_skips_rows_that_do_not_count():
    x, w, bias = layer()
    with torch.no_grad():
        x[2] = torch.nan
    loss = ct.linear_cross_entropy(x, w, LABELS, bias)
    gradients = torch.autograd.grad(loss, (x, w, bias))
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients) and (gradients[0][2] == 0).all()
    nothing = ct.linear_cross_entropy(x, w, torch.full_like(LABELS, -100), bias)
    assert nothing.isnan() and (torch.autograd.grad(nothing, x)[0] != 0).sum() == 0


def test_linear_cross_entropy_in_bfloat16():
    x, w, bias = (a.detach().bfloat16().requires_grad_() for a in layer())
    loss = ct.linear_cross_entropy(x, w, LABELS, bias, chunk_size=2)
    gradients = torch.autograd.grad(loss, (x, w, bias))
    value, expected = csoftmax.linear_cross_entropy(
        *(as_numpy(a.double()) for a in (x, w)), LABELS.numpy(), as_numpy(bias.double()), return_grad=True
    )
    assert loss.dtype is torch.float32 and abs(loss.item() - value) < 0.01
    for gradient, one in zip(gradients, expected, strict=True):
        assert gradient.dtype is torch.bfloat16
        np.testing.assert_allclose(gradient.double().numpy(), one, atol=0.02)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_kl_divergence_of_tensors(reduction):
    p, q = numbers(ROWS, CLASSES, seed=1), logits()
    loss = ct.kl_divergence(p, q, temperature=2.0, reduction=reduction)
    loss.sum().backward()
    value, gradient = csoftmax.kl_divergence(
        as_numpy(p), as_numpy(q), temperature=2.0, reduction=reduction, return_grad=True
    )
    np.testing.assert_array_equal(as_numpy(loss), value)
    np.testing.assert_allclose(q.grad.numpy(), gradient, rtol=1e-15)


# Derivatives against finite differences


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [-1, 0])
def test_both_derivatives_of_maps(name, axis):
    def function(x):
        return getattr(ct, name)(x, axis, temperature=torch.linspace(0.5, 2, x.shape[1 + axis]))

    assert gradcheck(function, logits()) and gradgradcheck(function, logits())


def test_classes_outside_where_have_no_derivative():
    mask = torch.tensor([True, True, True, False, True])
    for name in ("softmax", "log_softmax"):
        x = logits()
        getattr(ct, name)(x, where=mask).where(mask, 0).square().sum().backward()
        assert (x.grad[:, ~mask] == 0).all()
        assert gradcheck(lambda x, name=name: getattr(ct, name)(x, where=mask)[:, mask], logits())


@every_case
def test_both_derivatives_of_cross_entropy(target, option):
    def function(x):
        return ct.cross_entropy(x, TARGETS[target], **OPTIONS[option])

    assert gradcheck(function, logits()) and gradgradcheck(function, logits())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_derivative_of_linear_cross_entropy(reduction):
    def function(x, w, bias):
        return ct.linear_cross_entropy(
            x, w, LABELS, bias, reduction=reduction, sample_weight=torch.linspace(1, 2, ROWS), chunk_size=4
        )

    assert gradcheck(function, layer())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ct.kl_divergence(numbers(ROWS, CLASSES, seed=1), x),
        lambda x: ct.linear_cross_entropy(x, numbers(4, CLASSES), torch.arange(ROWS) % 4),
        lambda x: ct.cross_entropy(x * 1, LABELS, inplace_backward=True),
    ],
    ids=["kl_divergence", "linear_cross_entropy", "in place"],
)
def test_a_second_derivative_that_is_not_there_is_an_error(function):
    x = logits()
    (gradient,) = torch.autograd.grad(function(x), x, create_graph=True)
    with pytest.raises(RuntimeError, match="have no second derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ct.cross_entropy(x, LABELS),
        lambda x: ct.kl_divergence(numbers(ROWS, CLASSES, seed=1), x),
        lambda x: ct.log_softmax(ct.softmax(x))[0, 0],
    ],
    ids=["cross_entropy", "kl_divergence", "maps"],
)
def test_gradient_by_transform(function):
    x = logits()
    expected = torch.autograd.grad(function(x), x)[0]
    np.testing.assert_allclose(torch.func.grad(function)(x.detach()), expected, rtol=1e-13, atol=1e-17)


# In place


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_inplace_backward(reduction):
    a, b = logits(), logits()
    x = a * 1
    loss = ct.cross_entropy(x, LABELS, reduction=reduction, inplace_backward=True)
    assert x.abs().max() <= 1
    (3 * loss).sum().backward()
    (3 * ct.cross_entropy(b, LABELS, reduction=reduction)).sum().backward()
    np.testing.assert_allclose(a.grad, b.grad, rtol=1e-15)


def test_inplace_backward_overwrites_what_nothing_else_needs():
    x = logits() * 1
    loss = ct.cross_entropy(x, LABELS, inplace_backward=True)
    with pytest.raises(RuntimeError, match="used after inplace_backward"):
        (loss + x.sum()).backward()
    x = logits().exp()  # whose derivative needs its result
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        ct.cross_entropy(x, LABELS, inplace_backward=True).backward()


def test_inplace_backward_refuses_leaves():
    with pytest.raises(RuntimeError, match="leaf"):
        ct.cross_entropy(logits(), LABELS, inplace_backward=True)
    x = logits().detach()
    ct.cross_entropy(x, LABELS, inplace_backward=True)
    assert (x == logits()).all()


def test_backward_twice():
    x = logits()
    loss = ct.cross_entropy(x, LABELS)
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    assert (x.grad == 2 * once).all()


# Layouts and dtypes of arguments


LAYOUTS = {
    "transposed": lambda x: x.T.contiguous().T,
    "sliced": lambda x: torch.stack([x, x], -1)[..., 0],
    "expanded": lambda x: x[:1].expand(ROWS, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_tensors(layout):
    x = LAYOUTS[layout](logits().detach())
    for function in (ct.softmax, ct.log_softmax):
        np.testing.assert_array_equal(function(x), function(x.clone(memory_format=torch.contiguous_format)))
    leaf = logits()
    ct.cross_entropy(LAYOUTS[layout](leaf), LABELS).backward()
    plain = logits()
    ct.cross_entropy(LAYOUTS[layout](plain).contiguous(), LABELS).backward()
    np.testing.assert_allclose(leaf.grad, plain.grad, rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32], ids=str)
def test_targets_of_any_dtype(dtype):
    target = LABELS.clamp(0).to(dtype)
    assert ct.cross_entropy(logits(), target) == ct.cross_entropy(logits(), LABELS.clamp(0))
    assert ct.cross_entropy(logits(), target[:1].expand(ROWS)).isfinite()


def test_arguments_that_require_a_gradient_are_refused():
    x, soft = logits(), TARGETS["probabilities"].clone().requires_grad_()
    with pytest.raises(ValueError, match=r"target requires a gradient.*pass target.detach\(\)"):
        ct.cross_entropy(x, soft)
    with pytest.raises(ValueError, match="p_logits requires"):
        ct.kl_divergence(soft, x)
    with pytest.raises(ValueError, match="temperature requires"):
        ct.softmax(x, temperature=torch.ones(ROWS, requires_grad=True))
    with torch.no_grad():
        assert ct.cross_entropy(x, soft).isfinite()


def test_errors_are_those_of_csoftmax():
    with pytest.raises(IndexError, match=r"target\[0\] = 7 is not a class index in \[0, 5\)"):
        ct.cross_entropy(logits(), LABELS + 7)
    with pytest.raises(ValueError, match="temperature must be positive"):
        ct.softmax(logits(), temperature=-1.0)
    with pytest.raises(TypeError, match="x has dtype complex64"):
        ct.softmax(logits().detach().to(torch.complex64))
    x, w, bias = layer()
    with pytest.raises(ValueError, match=r"x has shape \(6, 3\), but w of shape \(5, 2\)"):
        ct.linear_cross_entropy(x, w[:, :2], LABELS)
    with pytest.raises(TypeError, match=r"w has dtype torch\.float32"):
        ct.linear_cross_entropy(x, w.float(), LABELS)
    for options in ({"label_smoothing": 2.0}, {"reduction": "max"}, {"chunk_size": 0}, {"normalizer": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            ct.linear_cross_entropy(x, w, LABELS, bias, **options)


def test_other_devices():
    meta = torch.empty(3, 4, dtype=torch.bfloat16, device="meta", requires_grad=True)
    assert ct.softmax(meta).shape == (3, 4) and ct.softmax(meta).dtype is torch.bfloat16
    loss = ct.cross_entropy(meta, torch.empty(3, dtype=torch.int64, device="meta"))
    assert loss.device.type == "meta" and loss.dtype is torch.float32 and loss.shape == ()
    with pytest.raises(NotImplementedError, match="SparseCPU"):
        ct.softmax(torch.eye(3).to_sparse())


def test_docstrings_of_tensors():
    result = doctest.testmod(ct)
    assert result.failed == 0 and result.attempted > 15


def test_import_of_the_package_imports_no_neighbour():
    code = "import sys, csoftmax; assert not {'torch', 'dask', 'distributed'} & set(sys.modules)"
    done = processes.run_python("-c", code)
    assert done.returncode == 0, done.stderr


def test_bfloat16_without_ml_dtypes_names_it():
    code = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import torch, csoftmax.torch\n"
        "print(csoftmax.torch.softmax(torch.zeros(2)))\n"
        "csoftmax.torch.softmax(torch.zeros(2).bfloat16())"
    )
    done = processes.run_python("-c", code)
    assert "tensor([0.5000, 0.5000])" in done.stdout
    assert "bfloat16 tensors need the package ml_dtypes: pip install ml_dtypes" in done.stderr


# What PyTorch asks of operators


LOSS = None, None, -100, 0.1, 0.0, 0.1, 3.0, 2.0, None, None
MAP = -1, 2.0, None, None, None
SAMPLES = {
    "softmax": lambda x: (x, *MAP),
    "log_softmax": lambda x: (x.T, *MAP),
    "softmax_vjp": lambda x: (x.softmax(-1), x, *MAP[:3]),
    "log_softmax_vjp": lambda x: (x.softmax(-1), x, *MAP[:3]),
    "log_softmax_jvp": lambda x: (x.softmax(-1), x, *MAP[:3]),
    "cross_entropy": lambda x: (x, LABELS, None, -1, *LOSS, "none", None),
    "cross_entropy_grad": lambda x: (x, *TARGETS["pairs"], -1, *LOSS, "mean", 3.0),
    "cross_entropy_grad_": lambda x: (x, LABELS, None, -1, *LOSS, "mean", None),
    "kl_divergence": lambda x: (x, x.flip(0), -1, 2.0, None, None, None, "none", None),
    "kl_divergence_grad": lambda x: (x, x.flip(0), -1, 2.0, None, None, None, "mean", None),
    "linear_cross_entropy": lambda x: (x, x[:5], LABELS, None, None, *LOSS, "none", None, 4),
    "linear_cross_entropy_grad": lambda x: (x, x[:5], LABELS, None, x[0], *LOSS, "mean", None, None),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SAMPLES)
def test_opcheck(name, dtype):
    torch.library.opcheck(getattr(OPS, name).default, SAMPLES[name](numbers(ROWS, CLASSES, dtype=dtype)))


def test_every_operator_has_a_sample():
    schemas = torch._C._jit_get_all_schemas()
    assert {s.name.split("::")[1] for s in schemas if s.name.startswith("csoftmax::")} == set(SAMPLES)


def everything(x, w, bias):
    """A function of all that there is."""
    z = ct.log_softmax(x) + ct.softmax(x, 0)
    return (
        ct.cross_entropy(z, LABELS, label_smoothing=0.1)
        + ct.cross_entropy(x * 2, LABELS, inplace_backward=True)
        + ct.cross_entropy(z, LABELS, reduction="none").sum()
        + ct.kl_divergence(x.detach().flip(0), z)
        + ct.linear_cross_entropy(z, w, LABELS, bias)
        + ct.linear_cross_entropy(z, w, LABELS, reduction="none").sum()
    )


@pytest.mark.filterwarnings("ignore")  # of PyTorch's compiler
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile(backend):
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    inputs = logits(), numbers(CLASSES, CLASSES, seed=1).requires_grad_(), numbers(CLASSES).requires_grad_()
    expected = everything(*inputs)
    gradients = torch.autograd.grad(expected, inputs)
    compiled = torch.compile(everything, backend=backend, fullgraph=True)(*inputs)
    np.testing.assert_allclose(as_numpy(compiled), as_numpy(expected), rtol=1e-13)
    for one, other in zip(torch.autograd.grad(compiled, inputs), gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.filterwarnings("ignore")
def test_export():
    class Model(torch.nn.Module):
        def forward(self, x, target):
            return ct.softmax(x), ct.cross_entropy(x, target)

    x = numbers(ROWS, CLASSES)
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(Model(), (x, LABELS), dynamic_shapes=({0: rows}, {0: rows}))
    p, loss = program.module()(x[:4], LABELS[:4])
    assert (p == ct.softmax(x[:4])).all() and loss == ct.cross_entropy(x[:4], LABELS[:4])
