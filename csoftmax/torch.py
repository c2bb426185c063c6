"""csoftmax for PyTorch: functions of CPU tensors with derivatives by autograd, which share the tensors' memory.

Arguments and results are those of the functions of the same names in `csoftmax`, as tensors; what differs is said here.
Derivatives are those by the logits, and by x, w and bias of `linear_cross_entropy`. Another argument that requires a
gradient is refused. The operators are `torch.ops.csoftmax`: `torch.compile` and `torch.export` know them.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from csoftmax import _torch_autograd as _autograd

__all__ = ["cross_entropy", "kl_divergence", "linear_cross_entropy", "log_softmax", "softmax"]

_Target: TypeAlias = Tensor | tuple[Tensor, Tensor]
_Temperature: TypeAlias = float | Tensor


def softmax(
    x: Tensor,
    axis: int = -1,
    *,
    temperature: _Temperature = 1.0,
    where: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Compute the softmax of logits along `axis`, which can be differentiated twice.

    Parameters
    ----------
    x : Tensor
        Logits of any shape and strides: float16, bfloat16, float32, float64; integers and bool as float64.
    axis : int
        The class axis.
    temperature : float or Tensor
        T > 0; a tensor has a T for each row, x's shape without `axis`.
    where : Tensor of bool, optional
        The classes that take part, broadcast to x.
    dtype : torch.dtype, optional
        That of the result.

    Returns
    -------
    Tensor
        Probabilities of x's shape.

    Raises
    ------
    NotImplementedError
        Tensors of a device other than the CPU, by PyTorch.
    TypeError, ValueError, numpy.exceptions.AxisError
        As `csoftmax.softmax`; ValueError also if `temperature` requires a gradient.

    Notes
    -----
    The derivative is `csoftmax.softmax_vjp`.

    Examples
    --------
    >>> import torch
    >>> import csoftmax.torch
    >>> x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> p = csoftmax.torch.softmax(x)
    >>> p[0].backward()
    >>> x.grad
    tensor([ 0.0819, -0.0220, -0.0599])
    """
    options = axis, *_temperatures(temperature), where, dtype
    function = _autograd.Softmax.apply if _autograd.records(x) else torch.ops.csoftmax.softmax
    return _tensor(function, x, *options)


def log_softmax(
    x: Tensor,
    axis: int = -1,
    *,
    temperature: _Temperature = 1.0,
    where: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Compute the logarithm of softmax, which can be differentiated twice.

    Parameters
    ----------
    x, axis, temperature, where, dtype
        As in `softmax`.

    Returns
    -------
    Tensor
        Log-probabilities of x's shape; -inf outside `where`.

    Raises
    ------
    NotImplementedError, TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Notes
    -----
    The derivative is `csoftmax.log_softmax_vjp`; it computes the probabilities anew from x, since exp of the rounded
    result would cost digits.

    Examples
    --------
    >>> import torch
    >>> import csoftmax.torch
    >>> csoftmax.torch.log_softmax(torch.tensor([40.0, 0.0]))
    tensor([-4.2484e-18, -4.0000e+01])
    """
    options = axis, *_temperatures(temperature), where, dtype
    function = _autograd.LogSoftmax.apply if _autograd.records(x) else torch.ops.csoftmax.log_softmax
    return _tensor(function, x, *options)


def cross_entropy(
    logits: Tensor,
    target: _Target,
    axis: int = -1,
    *,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: _Temperature = 1.0,
    where: Tensor | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
    inplace_backward: bool = False,
) -> Tensor:
    """Compute the softmax cross-entropy loss; its gradient is made in the same pass and kept for backward.

    Parameters
    ----------
    logits : Tensor
        Any shape, classes along `axis`: the last by default, where PyTorch's function takes axis 1.
    target : Tensor or tuple of two Tensors
        Class indices of any integer dtype; probabilities; or a pair (index, prob).
    axis, weight, sample_weight, ignore_index, label_smoothing, focal_gamma, z_loss, softcap, temperature, where, \
reduction, normalizer
        As in `csoftmax.cross_entropy`.
    inplace_backward : bool
        Where `logits` need a gradient, overwrite them by it: the loss then takes no memory of their size. They must
        be the result of an operation that does not need them again. There is no second derivative, and one backward.

    Returns
    -------
    Tensor
        The loss, float32 for 16-bit logits; shaped like the rows if `reduction` is "none".

    Raises
    ------
    NotImplementedError
        Tensors of a device other than the CPU, by PyTorch.
    IndexError, TypeError, ValueError, numpy.exceptions.AxisError
        As `csoftmax.cross_entropy`; ValueError also if another argument than `logits` requires a gradient.
    RuntimeError
        `inplace_backward` with a leaf, by PyTorch.

    Notes
    -----
    A second derivative computes the loss again, by `log_softmax` and operations of PyTorch.

    Examples
    --------
    >>> import torch
    >>> import csoftmax.torch
    >>> logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    >>> loss = csoftmax.torch.cross_entropy(logits, torch.tensor([0, 2]), label_smoothing=0.1)
    >>> loss.backward()
    >>> logits.grad
    tensor([[-0.1340,  0.1057,  0.0283],
            [ 0.1500,  0.1500, -0.3000]])
    """
    options = (
        *_pair(target),
        axis,
        weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        focal_gamma,
        z_loss,
        softcap,
        *_temperatures(temperature),
        where,
        reduction,
        normalizer,
    )
    _refuse_gradients(weight=weight, sample_weight=sample_weight)
    if not _autograd.records(logits):
        return _tensor(torch.ops.csoftmax.cross_entropy, logits, *options)
    function: Any = _autograd.CrossEntropyInPlace if inplace_backward else _autograd.CrossEntropy
    return _first(function.apply, logits, *options)


def linear_cross_entropy(
    x: Tensor,
    w: Tensor,
    target: _Target,
    bias: Tensor | None = None,
    *,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: _Temperature = 1.0,
    where: Tensor | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Compute the cross-entropy of ``x @ w.T + bias`` by chunks of rows, without holding the logits.

    Parameters
    ----------
    x : Tensor
        Shape (..., features), of a floating dtype.
    w : Tensor
        Shape (classes, features), of x's dtype.
    target, weight, sample_weight, ignore_index, label_smoothing, focal_gamma, z_loss, softcap, temperature, where, \
reduction, normalizer
        As in `cross_entropy`, of logits of shape rows + (classes,).
    bias : Tensor, optional
        Shape (classes,), of x's dtype.
    chunk_size : int, optional
        Rows per chunk; chosen as in `csoftmax.linear_cross_entropy` by default.

    Returns
    -------
    Tensor
        The loss, float32 for 16-bit dtypes; shaped like the rows if `reduction` is "none".

    Raises
    ------
    NotImplementedError
        Tensors of a device other than the CPU, by PyTorch.
    IndexError, TypeError, ValueError
        As `csoftmax.linear_cross_entropy`; TypeError also for dtypes that differ; ValueError also if another argument
        than x, w and bias requires a gradient.

    Notes
    -----
    The products are `torch.mm`. The logits of a chunk have x's dtype, also if that is bfloat16; dw and db are summed in
    float32 then. Gradients are made with the loss; with ``reduction="none"`` they are made in backward, by the products
    again. There is no second derivative.

    Examples
    --------
    >>> import torch
    >>> import csoftmax.torch
    >>> x = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], requires_grad=True)
    >>> csoftmax.torch.linear_cross_entropy(x, torch.eye(2), torch.tensor([0, 1, -100])).backward()
    >>> x.grad
    tensor([[-0.3655,  0.3655],
            [ 0.4088, -0.4088],
            [ 0.0000,  0.0000]])
    """
    arguments = (
        x,
        w,
        *_pair(target),
        bias,
        weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        focal_gamma,
        z_loss,
        softcap,
        *_temperatures(temperature),
        where,
        reduction,
        normalizer,
        chunk_size,
    )
    _refuse_gradients(weight=weight, sample_weight=sample_weight)
    if not _autograd.records(x, w, bias):
        return _tensor(torch.ops.csoftmax.linear_cross_entropy, *arguments)
    if reduction == "none":
        return _tensor(_autograd.LinearCrossEntropyRows.apply, *arguments)
    return _first(_autograd.LinearCrossEntropy.apply, *arguments)


def kl_divergence(
    p_logits: Tensor,
    q_logits: Tensor,
    axis: int = -1,
    *,
    temperature: _Temperature = 1.0,
    where: Tensor | None = None,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
) -> Tensor:
    """Compute the Kullback-Leibler divergence of two softmaxes, KL(P||Q), from their logits.

    Parameters
    ----------
    p_logits : Tensor
        The logits of P, such as a teacher's; they get no gradient.
    q_logits : Tensor
        The logits of Q, of the same shape.
    axis, temperature, where, sample_weight, reduction, normalizer
        As in `csoftmax.kl_divergence`.

    Returns
    -------
    Tensor
        The loss, float32 for 16-bit logits; shaped like the rows if `reduction` is "none".

    Raises
    ------
    NotImplementedError
        Tensors of a device other than the CPU, by PyTorch.
    TypeError, ValueError, numpy.exceptions.AxisError
        As `csoftmax.kl_divergence`; ValueError also if another argument than `q_logits` requires a gradient.

    Notes
    -----
    The gradient is made with the loss and kept for backward. There is no second derivative.

    Examples
    --------
    >>> import torch
    >>> import csoftmax.torch
    >>> q = torch.zeros(3, requires_grad=True)
    >>> csoftmax.torch.kl_divergence(torch.tensor([2.0, 1.0, 0.0]), q).backward()
    >>> q.grad
    tensor([-0.3319,  0.0886,  0.2433])
    """
    arguments = p_logits, q_logits, axis, *_temperatures(temperature), where, sample_weight, reduction, normalizer
    _refuse_gradients(p_logits=p_logits, sample_weight=sample_weight)
    if not _autograd.records(q_logits):
        return _tensor(torch.ops.csoftmax.kl_divergence, *arguments)
    return _first(_autograd.KLDivergence.apply, *arguments)


def _tensor(function: Callable[..., Any], *arguments: Any) -> Tensor:
    """The result of a function that PyTorch's types do not know."""
    result: Tensor = function(*arguments)
    return result


def _first(function: Callable[..., Any], *arguments: Any) -> Tensor:
    """The loss, of the results of a function: gradients follow it."""
    loss: Tensor = function(*arguments)[0]
    return loss


def _pair(target: _Target) -> tuple[Tensor, Tensor | None]:
    """A target as (target, None), or as (index, prob)."""
    if isinstance(target, tuple):
        if len(target) != 2:
            raise ValueError(f"target is a tuple of {len(target)}: a tuple must be a pair of tensors (index, prob)")
        index, prob = target
        _refuse_gradients(target=index, prob=prob)
        return index, prob
    _refuse_gradients(target=target)
    return target, None


def _temperatures(temperature: _Temperature) -> tuple[float, Tensor | None]:
    """A temperature as one for all rows, and one for each."""
    if isinstance(temperature, Tensor):
        _refuse_gradients(temperature=temperature)
        return 1.0, temperature
    return temperature, None


def _refuse_gradients(**tensors: Tensor | None) -> None:
    for name, t in tensors.items():
        if t is not None and _autograd.records(t):
            raise ValueError(f"{name} requires a gradient, which this function does not compute: pass {name}.detach()")
