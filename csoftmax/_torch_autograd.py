"""The derivatives of the operators, as PyTorch's autograd wants them."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from csoftmax import _torch_linear, _torch_ops  # noqa: F401  (they define the operators)

OPS = torch.ops.csoftmax


def apply(function: Any, *arguments: Any) -> Any:
    """Function.apply, which has no type."""
    return function.apply(*arguments)


def records(*tensors: Tensor | None) -> bool:
    """Whether autograd will ask for a derivative by one of these."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


class Last(Function):
    """A gradient that has no derivative of its own: to ask for it is an error, and not 0."""

    @staticmethod
    def forward(gradient: Tensor, *inputs: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        raise RuntimeError("kl_divergence, linear_cross_entropy and inplace_backward=True have no second derivative")


def once(gradient: Tensor, *inputs: Tensor | None) -> Any:
    """A gradient, which depends on these inputs, as a backward returns it that has no derivative."""
    return apply(Last, gradient, *inputs) if records(*inputs) else gradient


def times(grad: Tensor, g: Tensor, axis: int) -> Tensor:
    """The gradient of a loss, or of the sum of those of rows, times what came back for the loss or the rows."""
    if g.ndim or grad.ndim == 0:
        return (grad * (g.unsqueeze(axis) if grad.ndim else g)).to(grad.dtype)
    if not torch.compiler.is_compiling() and not records(g) and g.item() == 1:
        return grad  # as it is in loss.backward(): nothing to multiply
    return grad * g


# Maps. `map_options` are (axis, temperature, temperatures, where, dtype), `axes` the first three of them.


class Product(Function):
    """Of p and g, which its derivative needs."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        p, g, *ctx.axes = inputs
        ctx.save_for_backward(p, g)


class SoftmaxProduct(Product):
    """p and g to J g, where J, the Jacobian of softmax, is symmetric: what is differentiable again."""

    @staticmethod
    def forward(p: Tensor, g: Tensor, *axes: Any) -> Any:
        return OPS.softmax_vjp(p, g, *axes)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        p, g = ctx.saved_tensors
        axis, temperature = ctx.axes[0], over_classes(*ctx.axes)
        dp = v * (g - (p * g).sum(axis, keepdim=True)) - g * (p * v).sum(axis, keepdim=True)
        return dp / temperature, apply(SoftmaxProduct, p, v, *ctx.axes), None, None, None


class LogSoftmaxProduct(Product):
    """p and g to (g - p sum(g))/T, the product with the transposed Jacobian of log_softmax."""

    @staticmethod
    def forward(p: Tensor, g: Tensor, *axes: Any) -> Any:
        return OPS.log_softmax_vjp(p, g, *axes)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        p, g = ctx.saved_tensors
        axis, temperature = ctx.axes[0], over_classes(*ctx.axes)
        dp = -v * g.sum(axis, keepdim=True) / temperature
        if records(p, v):
            return dp, (v - (p * v).sum(axis, keepdim=True)) / temperature, None, None, None
        return dp, OPS.log_softmax_jvp(p, v, *ctx.axes), None, None, None


def over_classes(axis: int, temperature: float, temperatures: Tensor | None) -> Any:
    """T as it divides logits."""
    return temperature if temperatures is None else temperatures.unsqueeze(axis)


class Softmax(Function):
    @staticmethod
    def forward(x: Tensor, *map_options: Any) -> Any:
        return OPS.softmax(x, *map_options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, *ctx.options = inputs
        ctx.dtype = x.dtype
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (p,) = ctx.saved_tensors
        axes = ctx.options[:3]
        product = apply(SoftmaxProduct, p, g, *axes) if records(p, g) else OPS.softmax_vjp(p, g, *axes)
        return product.to(ctx.dtype), None, None, None, None, None


class LogSoftmax(Function):
    @staticmethod
    def forward(x: Tensor, *map_options: Any) -> Any:
        return OPS.log_softmax(x, *map_options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, *ctx.options = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        axes, where = ctx.options[:3], ctx.options[3]
        if where is not None:
            g = torch.where(where, g, 0)  # elsewhere the result is -inf, whatever x is
        if records(x, g):
            product = apply(LogSoftmaxProduct, apply(Softmax, x, *ctx.options), g, *axes)
        else:
            product = OPS.log_softmax_vjp(OPS.softmax(x, *ctx.options), g, *axes)
        return product.to(x.dtype), None, None, None, None, None


# Losses. Forward makes the loss and its gradient in one pass, backward scales the gradient.


class CrossEntropy(Function):
    @staticmethod
    def forward(logits: Tensor, *options: Any) -> Any:
        return OPS.cross_entropy_grad(logits, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        logits, *ctx.options = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(logits, output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, _: None) -> Any:
        others = [None] * len(ctx.options)
        if g is None:
            return None, *others
        logits, grad = ctx.saved_tensors
        if not records(logits, g):
            return times(grad, g, ctx.options[2]), *others
        loss = differentiable_loss(logits, *ctx.options)
        return *torch.autograd.grad(loss, logits, g, create_graph=True), *others


class CrossEntropyInPlace(Function):
    """The gradient takes the place of the logits, in forward, and is scaled there in backward."""

    @staticmethod
    def forward(logits: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
        return OPS.cross_entropy_grad_(logits, *options), logits

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        logits, *ctx.options = inputs
        ctx.mark_dirty(logits)
        ctx.save_for_backward(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, of_logits: Tensor | None) -> Any:
        if of_logits is not None and not torch.compiler.is_compiling():  # the compiler passes zeros for nothing
            raise RuntimeError("the logits were used after inplace_backward=True had put their gradient in their place")
        others = [None] * len(ctx.options)
        if g is None:
            return None, *others
        (grad,) = ctx.saved_tensors
        with torch.no_grad():
            grad.mul_(g.unsqueeze(ctx.options[2]) if g.ndim else g)
        return once(grad.detach(), grad), *others


def differentiable_loss(
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
    reduction: str,
    normalizer: float | None,
) -> Tensor:
    """The loss by operations that all have derivatives, for its second one."""
    classes = logits.shape[axis]
    x = logits.movedim(axis, -1)
    mask = torch.ones_like(x, dtype=torch.bool) if where is None else where.expand(logits.shape).movedim(axis, -1)
    t, counts = dense_target(
        x, target.movedim(axis, -1) if prob is None and target.ndim == x.ndim else target, prob, ignore_index
    )
    scale = torch.ones_like(x[..., 0]) if sample_weight is None else sample_weight.expand(x.shape[:-1]).to(x.dtype)
    w = x.new_ones(classes) if weight is None else weight.to(x.dtype)
    x = torch.where((counts & (scale != 0)).unsqueeze(-1), x, 0)  # the other rows are not read
    u = x if softcap is None else softcap * torch.tanh(x / softcap)
    log_p = apply(LogSoftmax, u, -1, temperature, temperatures, mask, None)
    c = w * ((1 - label_smoothing) * t + label_smoothing * mask / mask.sum(-1, keepdim=True).clamp(min=1))
    losses = -torch.where(c != 0, c * log_p, 0).sum(-1)
    if focal_gamma:
        losses = losses * (-torch.expm1(torch.where(t != 0, log_p, 0).sum(-1))) ** focal_gamma
    if z_loss:
        v = u / over_classes(-1, temperature, temperatures)
        losses = losses + z_loss * torch.where(mask, v, -torch.inf).logsumexp(-1) ** 2
    losses = torch.where(counts, scale * losses, 0)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    by_label = prob is None and target.ndim < logits.ndim
    divisor = (t * w).sum() if by_label else counts.sum()
    return losses.sum() / (divisor if normalizer is None else normalizer)


def dense_target(x: Tensor, target: Tensor, prob: Tensor | None, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """The target as probabilities of all classes, the last axis, and which rows count."""
    if prob is None and target.ndim == x.ndim:
        return target.to(x.dtype), torch.ones_like(x[..., 0], dtype=torch.bool)
    if prob is None:
        target = target.expand(x.shape[:-1]).unsqueeze(-1)
    kept = torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index
    amount = torch.where(kept, 1.0 if prob is None else prob, 0.0).to(x.dtype)
    t = torch.zeros_like(x).scatter_add(-1, torch.where(kept, target, 0).long(), amount)
    return t, kept.any(-1)


class KLDivergence(Function):
    @staticmethod
    def forward(p_logits: Tensor, q_logits: Tensor, *options: Any) -> Any:
        return OPS.kl_divergence_grad(p_logits, q_logits, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.axis, ctx.others = inputs[2], len(inputs) - 2
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[1], output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, _: None) -> Any:
        q_logits, grad = ctx.saved_tensors
        return None, None if g is None else once(times(grad, g, ctx.axis), q_logits, g), *[None] * ctx.others


class LinearCrossEntropy(Function):
    """Of a reduced loss."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, target: Tensor, prob: Tensor | None, bias: Tensor | None, *options: Any) -> Any:
        return OPS.linear_cross_entropy_grad(x, w, target, prob, bias, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.others = len(inputs) - 5
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs[:2], inputs[4], *output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: None) -> Any:
        if g is None:
            return (None,) * (5 + ctx.others)
        x, w, bias, *gradients = ctx.saved_tensors
        dx, dw, db = (
            once(times(a, g, -1), x, w, bias, g) if need else None
            for a, need in zip(gradients, (ctx.needs_input_grad[i] for i in (0, 1, 4)), strict=True)
        )
        return dx, dw, None, None, db, *[None] * ctx.others


class LinearCrossEntropyRows(Function):
    """Of a loss per row: what comes back for the rows are the weights of a sum, which backward differentiates."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, target: Tensor, prob: Tensor | None, bias: Tensor | None, *options: Any) -> Any:
        return OPS.linear_cross_entropy(x, w, target, prob, bias, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, w, target, prob, bias, weight, sample_weight, *ctx.options = inputs
        ctx.save_for_backward(x, w, target, prob, bias, weight, sample_weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, w, target, prob, bias, weight, sample_weight = ctx.saved_tensors
        weights = g if sample_weight is None else g * sample_weight
        options = [*ctx.options]
        options[-3] = "sum"  # the reduction
        _, dx, dw, db = OPS.linear_cross_entropy_grad(x, w, target, prob, bias, weight, weights, *options)
        inputs = x, w, bias, g
        db = None if bias is None else once(db, *inputs)
        return once(dx, *inputs), once(dw, *inputs), None, None, db, *[None] * (2 + len(options))


# Function.apply asks for the signature of forward at every call, and to find it takes 20 us.
for function in (
    SoftmaxProduct,
    LogSoftmaxProduct,
    Softmax,
    LogSoftmax,
    CrossEntropy,
    CrossEntropyInPlace,
    KLDivergence,
    LinearCrossEntropy,
    LinearCrossEntropyRows,
):
    setattr(function.forward, "__signature__", inspect.signature(function.forward))  # noqa: B010
