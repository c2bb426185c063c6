"""The operators that PyTorch knows as `torch.ops.csoftmax`, for CPU tensors, without derivatives.

A tensor and the array that csoftmax computes on share their memory. On a device without a kernel PyTorch raises its own
error; the fake implementations tell `torch.compile` and the meta device shapes, dtypes and strides.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

import csoftmax

Array: TypeAlias = np.ndarray[Any, Any]

LIBRARIES: Any = torch.library  # a module without types
LIBRARY = LIBRARIES.Library("csoftmax", "DEF")
TEMPERATURE = "float temperature, Tensor? temperatures"  # one for all rows, or one for each
OPTIONS = (
    "Tensor? weight, Tensor? sample_weight, int? ignore_index, float label_smoothing, float focal_gamma, float z_loss, "
    f"float? softcap, {TEMPERATURE}, Tensor? where, str reduction, float? normalizer"
)


def register(schema: str, compute: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Define an operator, its kernel for CPU tensors, and what it returns without computing."""
    name = LIBRARY.define(schema)
    LIBRARY.impl(name, compute, "CPU")
    LIBRARIES.register_fake(f"csoftmax::{name}", fake, lib=LIBRARY)


# Tensors as arrays


def bfloat16() -> Any:
    """The dtype by which csoftmax knows bfloat16, which NumPy itself does not have."""
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "bfloat16 tensors need the package ml_dtypes: pip install ml_dtypes, or pass tensor.float()"
        ) from None
    return np.dtype(ml_dtypes.bfloat16)


def array(t: Tensor | None) -> Any:
    """The array that shares the memory of a CPU tensor."""
    if t is None:
        return None
    if t.dtype is torch.bfloat16:
        return t.detach().view(torch.int16).numpy().view(bfloat16())
    return t.detach().numpy()


def target_array(target: Tensor, prob: Tensor | None) -> Any:
    return array(target) if prob is None else (array(target), array(prob))


def temperature_array(temperature: float, temperatures: Tensor | None) -> Any:
    return temperature if temperatures is None else array(temperatures)


# Shapes and dtypes of results


def floating(x: Tensor) -> torch.dtype:
    """The dtype of maps and gradients: that of x, float64 for integers and bool."""
    return x.dtype if x.dtype.is_floating_point else torch.float64


def loss_dtype(*logits: Tensor) -> torch.dtype:
    """The dtype of a loss: the common one of the logits, float32 for those of 16 bits."""
    common = floating(logits[0])
    for other in logits[1:]:
        common = torch.promote_types(common, floating(other))
    return torch.float32 if common.itemsize == 2 else common


def empty_loss(x: Tensor, axis: int, reduction: str, dtype: torch.dtype) -> Tensor:
    rows = list(x.shape)
    if rows:
        del rows[axis]
    return x.new_empty(rows if reduction == "none" else [], dtype=dtype)


# Maps, and their products with vectors


def register_map(name: str, function: Callable[..., Any]) -> None:
    def compute(
        x: Tensor,
        axis: int,
        temperature: float,
        temperatures: Tensor | None,
        where: Tensor | None,
        dtype: torch.dtype | None,
    ) -> Tensor:
        y = torch.empty_like(x, dtype=floating(x) if dtype is None else dtype)
        out = array(y)
        function(
            array(x),
            axis,
            temperature=temperature_array(temperature, temperatures),
            where=array(where),
            dtype=None if dtype is None else out.dtype,
            out=out,
        )
        return y

    def fake(
        x: Tensor,
        axis: int,
        temperature: float,
        temperatures: Tensor | None,
        where: Tensor | None,
        dtype: torch.dtype | None,
    ) -> Tensor:
        return torch.empty_like(x, dtype=floating(x) if dtype is None else dtype)

    schema = f"{name}(Tensor x, int axis, {TEMPERATURE}, Tensor? where, ScalarType? dtype) -> Tensor"
    register(schema, compute, fake)


def register_product(name: str, function: Callable[..., Any]) -> None:
    def compute(p: Tensor, g: Tensor, axis: int, temperature: float, temperatures: Tensor | None) -> Tensor:
        y = torch.empty_like(p)
        function(array(p), array(g), axis, temperature=temperature_array(temperature, temperatures), out=array(y))
        return y

    def fake(p: Tensor, g: Tensor, axis: int, temperature: float, temperatures: Tensor | None) -> Tensor:
        return torch.empty_like(p)

    register(f"{name}(Tensor p, Tensor g, int axis, {TEMPERATURE}) -> Tensor", compute, fake)


register_map("softmax", csoftmax.softmax)
register_map("log_softmax", csoftmax.log_softmax)
register_product("softmax_vjp", csoftmax.softmax_vjp)
register_product("log_softmax_vjp", csoftmax.log_softmax_vjp)
register_product("log_softmax_jvp", csoftmax.log_softmax_jvp)


# Losses


def into(grad: Tensor | None) -> dict[str, Any]:
    """The arguments by which a loss writes its gradient to a tensor, if there is one."""
    return {} if grad is None else {"return_grad": True, "out": array(grad)}


def loss_and_grad(
    grad: Tensor | None,
    logits: Tensor,
    target: Tensor,
    prob: Tensor | None,
    axis: int,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int | None,
    label_smoothing: float,
    focal_gamma: float,
    z_loss: float,
    softcap: float | None,
    temperature: float,
    temperatures: Tensor | None,
    where: Tensor | None,
    reduction: Any,
    normalizer: float | None,
) -> Any:
    """The loss of csoftmax.cross_entropy; its gradient is written to `grad`, if given, which may be `logits`."""
    result = csoftmax.cross_entropy(
        array(logits),
        target_array(target, prob),
        axis,
        weight=array(weight),
        sample_weight=array(sample_weight),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        focal_gamma=focal_gamma,
        z_loss=z_loss,
        softcap=softcap,
        temperature=temperature_array(temperature, temperatures),
        where=array(where),
        reduction=reduction,
        normalizer=normalizer,
        **into(grad),
    )
    return result if grad is None else result[0]


def new_loss(value: Any) -> Tensor:
    return torch.from_numpy(np.asarray(value))


def cross_entropy(logits: Tensor, *options: Any) -> Tensor:
    return new_loss(loss_and_grad(None, logits, *options))


def cross_entropy_grad(logits: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    grad = torch.empty_like(logits, dtype=floating(logits))
    return new_loss(loss_and_grad(grad, logits, *options)), grad


def cross_entropy_grad_in_place(logits: Tensor, *options: Any) -> Tensor:
    return new_loss(loss_and_grad(logits, logits, *options))


def fake_cross_entropy(logits: Tensor, target: Tensor, prob: Tensor | None, axis: int, *options: Any) -> Tensor:
    return empty_loss(logits, axis, options[-2], loss_dtype(logits))


def fake_cross_entropy_grad(logits: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    return fake_cross_entropy(logits, *options), torch.empty_like(logits, dtype=floating(logits))


TARGET = "Tensor target, Tensor? prob"  # the second of a pair (index, prob)
register(f"cross_entropy(Tensor logits, {TARGET}, int axis, {OPTIONS}) -> Tensor", cross_entropy, fake_cross_entropy)
register(
    f"cross_entropy_grad(Tensor logits, {TARGET}, int axis, {OPTIONS}) -> (Tensor, Tensor)",
    cross_entropy_grad,
    fake_cross_entropy_grad,
)
register(
    f"cross_entropy_grad_(Tensor(a!) logits, {TARGET}, int axis, {OPTIONS}) -> Tensor",
    cross_entropy_grad_in_place,
    fake_cross_entropy,
)


def divergence_and_grad(
    grad: Tensor | None,
    p_logits: Tensor,
    q_logits: Tensor,
    axis: int,
    temperature: float,
    temperatures: Tensor | None,
    where: Tensor | None,
    sample_weight: Tensor | None,
    reduction: Any,
    normalizer: float | None,
) -> Any:
    result = csoftmax.kl_divergence(
        array(p_logits),
        array(q_logits),
        axis,
        temperature=temperature_array(temperature, temperatures),
        where=array(where),
        sample_weight=array(sample_weight),
        reduction=reduction,
        normalizer=normalizer,
        **into(grad),
    )
    return result if grad is None else result[0]


def kl_divergence(*arguments: Any) -> Tensor:
    return new_loss(divergence_and_grad(None, *arguments))


def kl_divergence_grad(p_logits: Tensor, q_logits: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    grad = torch.empty_like(q_logits, dtype=floating(q_logits))
    return new_loss(divergence_and_grad(grad, p_logits, q_logits, *options)), grad


def fake_kl_divergence(p_logits: Tensor, q_logits: Tensor, axis: int, *options: Any) -> Tensor:
    return empty_loss(q_logits, axis, options[-2], loss_dtype(p_logits, q_logits))


def fake_kl_divergence_grad(p_logits: Tensor, q_logits: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    return fake_kl_divergence(p_logits, q_logits, *options), torch.empty_like(q_logits, dtype=floating(q_logits))


KL = (
    f"Tensor p_logits, Tensor q_logits, int axis, {TEMPERATURE}, Tensor? where, Tensor? sample_weight, str reduction, "
    "float? normalizer"
)
register(f"kl_divergence({KL}) -> Tensor", kl_divergence, fake_kl_divergence)
register(f"kl_divergence_grad({KL}) -> (Tensor, Tensor)", kl_divergence_grad, fake_kl_divergence_grad)
