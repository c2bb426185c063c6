"""What a type checker must make of the public names. test_typing.py checks it with mypy, and runs it."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import csoftmax
from csoftmax import special
from csoftmax.boosting import SoftmaxObjective

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

x = np.array([[1, 2, 4], [0, 1, 0]], dtype=np.float32)
z = x.astype(np.float64)
half = x.astype(np.float16)
whole = np.array([[1, 2, 4], [0, 1, 0]], dtype=np.uint8)
labels = np.array([2, 0])

assert_type(csoftmax.softmax(x), Float32)
assert_type(csoftmax.softmax(z, axis=None), Float64)
assert_type(csoftmax.softmax(z, 0, temperature=2), Float64)
assert_type(csoftmax.softmax(whole), Float64)
assert_type(csoftmax.softmax([[1, 2], [3, 4]]), Float64)
assert_type(csoftmax.softmax(whole, dtype=np.float32), Float32)
assert_type(csoftmax.softmax(z, out=x), Float32)
assert_type(csoftmax.log_softmax(x, (0, 1)), Float32)
assert_type(csoftmax.log_softmax(z, dtype=np.dtype(np.float32)), Float32)
assert_type(csoftmax.log_softmax([1, 2.5]), Float64)
assert_type(csoftmax.softmax(half, temperature=[1, 2], where=x > 0), Float16)
assert_type(csoftmax.softmax(x, dtype=np.float16), Float16)

assert_type(csoftmax.logsumexp(x), np.float32)
assert_type(csoftmax.logsumexp([1, 2]), np.float64)
assert_type(csoftmax.logsumexp(x, -1, keepdims=True), Float32)
assert_type(csoftmax.logsumexp(x, axis=-1), Any)
assert_type(csoftmax.logsumexp(x, b=x), Any)
assert_type(csoftmax.logsumexp(x, -1, x, return_sign=True), tuple[Any, Any])

assert_type(csoftmax.selective_log_softmax(x, labels), Float32)
assert_type(csoftmax.selective_log_softmax([[1, 2], [3, 4]], [0, 1]), Float64)
assert_type(csoftmax.softmax_entropy(x, keepdims=True), Float32)
assert_type(csoftmax.softmax_entropy(x), Any)
assert_type(csoftmax.softmax_entropy(x, return_grad=True), tuple[Any, Float32])
assert_type(csoftmax.softmax_expectation(x, [1, 2, 3]), Any)
assert_type(csoftmax.softmax_expectation(x, z, where=x > 0, return_grad=True), tuple[Any, Float32])
assert_type(csoftmax.softmax_expectation(x, z, out=x[:, 0]), Float32)
assert_type(csoftmax.top_k_log_softmax(x, 2), tuple[Float32, NDArray[np.intp]])
assert_type(csoftmax.top_k_log_softmax([[1, 2], [3, 4]], 1, 0), tuple[Float64, NDArray[np.intp]])
flat, wide, offsets = x.ravel(), z.ravel(), [0, 2, 6]
place: Float32 = np.empty(6, np.float32)
assert_type(csoftmax.segment_softmax(flat, offsets), Float32)
assert_type(csoftmax.segment_log_softmax(whole.ravel(), offsets), Float64)
assert_type(csoftmax.segment_logsumexp(half.ravel(), offsets, temperature=2), Float16)
assert_type(csoftmax.segment_softmax_vjp(flat, flat, offsets, out=place), Float32)
assert_type(csoftmax.segment_cross_entropy(flat, [1, 0], offsets), np.float32)
assert_type(csoftmax.segment_cross_entropy(flat, [1, 0], offsets, return_grad=True), tuple[np.float32, Float32])
assert_type(csoftmax.segment_cross_entropy(wide, wide, offsets, reduction="none"), Float64)
assert_type(csoftmax.kl_divergence(x, x), np.float32)
assert_type(csoftmax.kl_divergence(x, x, reduction="none", return_grad=True), tuple[Float32, Float32])
assert_type(csoftmax.kl_divergence([[0.0, 1.0]], [[1, 2]], return_grad=True), tuple[Any, Any])

p = csoftmax.softmax(x)
assert_type(csoftmax.softmax_jacobian(p), Float32)
assert_type(csoftmax.softmax_vjp(p, x), Float32)
assert_type(csoftmax.softmax_jvp(z, z), Float64)
assert_type(csoftmax.log_softmax_vjp(p, x, out=x), Float32)
assert_type(csoftmax.log_softmax_jvp([0.5, 0.5], [1, 2]), Float64)

assert_type(csoftmax.cross_entropy(x, labels), np.float32)
assert_type(csoftmax.cross_entropy(z, [2, 0], reduction="sum"), np.float64)
assert_type(csoftmax.cross_entropy(x, labels, return_grad=True), tuple[np.float32, Float32])
assert_type(csoftmax.cross_entropy(x, labels, reduction="none"), Float32)
assert_type(csoftmax.cross_entropy(z, z, reduction="none", return_grad=True), tuple[Float64, Float64])
assert_type(csoftmax.cross_entropy(x, labels, return_grad=bool(labels[0])), Any)
assert_type(csoftmax.cross_entropy(x, (labels[:, None], z[:, :1]), weight=[1, 2, 3], softcap=30), np.float32)
assert_type(csoftmax.cross_entropy(half, labels), Any)
loss, gradient = csoftmax.cross_entropy([[1, 2], [3, 4]], [0, 1], return_grad=True, out=np.empty((2, 2)))
assert_type(gradient, Any)

assert_type(csoftmax.softmax_grad_hess(x, labels, hessian="upper"), tuple[Float32, Float32])
assert_type(csoftmax.softmax_grad_hess(z, z, out=(x.copy(), x.copy())), tuple[Float32, Float32])
w, features = np.ones((3, 5)), np.ones((2, 5))
assert_type(csoftmax.linear_cross_entropy(features, w, labels), Any)
linear_loss, (dx, dw, db) = csoftmax.linear_cross_entropy(features, w, labels, return_grad=True)
assert_type(dx, NDArray[Any])
assert_type(db, NDArray[Any] | None)

assert_type(special.softmax(x, axis=1), Float32)
assert_type(special.log_softmax(x.astype(np.complex128)), NDArray[np.complex128])
assert_type(special.softmax([1, 2]), Any)
assert_type(special.logsumexp(x, b=whole, return_sign=True), Any)
objective = SoftmaxObjective(hessian="upper", class_weight={0: 2.0})
assert_type(objective(labels, z), tuple[Float32, Float32])
assert_type(objective.loss(labels, z), float | tuple[str, float] | tuple[str, float, bool])

assert_type(csoftmax.show_config(mode="dicts")["isas"], list[str])
assert_type(csoftmax.get_num_threads(), int)
csoftmax.set_num_threads(csoftmax.get_num_threads())
assert_type(csoftmax.__version__, str)


def refused() -> None:
    """Were a type checker to accept one of these, its comment would be an error."""
    csoftmax.softmax(x, where=x)  # type: ignore[arg-type]
    csoftmax.softmax(x, "last")  # type: ignore[call-overload]
    csoftmax.softmax_entropy(x, return_sign=True)  # type: ignore[call-overload]
    csoftmax.softmax_grad_hess(x, labels, hessian="exact")  # type: ignore[call-overload]
    csoftmax.softmax_jacobian(x, axis=None)  # type: ignore[call-overload]
    csoftmax.top_k_log_softmax(x, 1.5)  # type: ignore[call-overload]
    csoftmax.segment_softmax(flat)  # type: ignore[call-overload]
    csoftmax.softmax_vjp(x)  # type: ignore[call-overload]
    csoftmax.cross_entropy(x, labels, reduction="average")  # type: ignore[call-overload]
    csoftmax.cross_entropy(x, labels, out=x)  # type: ignore[call-overload]
    csoftmax.cross_entropy(x, labels, softcap=x)  # type: ignore[call-overload]
    csoftmax.show_config("json")  # type: ignore[call-overload]
