"""Derivatives from probabilities: signatures, docstrings, and calls that are not plain.

Plain ones stop at the doors that decorate the functions, `_core.thin_*`.
"""

import numpy as np

from csoftmax import _arrays, _core


@_core.thin_softmax_jacobian
def softmax_jacobian(p, axis=-1, *, temperature=1.0, out=None):
    """Compute the Jacobian of softmax, ``(diag(p) - p p^T)/T``.

    Parameters
    ----------
    p : array_like
        Probabilities, ``softmax(x/T)``: each row along `axis` sums to 1. dtypes as in `softmax`.
    axis : int
        The class axis, of length n.
    temperature : float or array_like
        The T that p was computed with; an array broadcasts to the rows, p's shape without `axis`.
    out : ndarray, optional
        Where the result goes: shape rows + (n, n).

    Returns
    -------
    ndarray
        ``J[..., i, j] = dp_i/dx_j = p_i (delta_ij - p_j)/T``, shape rows + (n, n) in C order, rows being p's
        shape without `axis`. Within 2 ULP, also where p_i is next to 1.

    Raises
    ------
    TypeError
        A dtype that is not supported; `p` is a masked array; `axis` not one int; `out` cannot take the result.
    ValueError
        `temperature` not positive and finite; `out` of another shape, read-only, or overlapping itself.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    Quotient rule, docs/derivation.md. 1 - p_i of a p_i above 1/2 is taken as the sum of the other probabilities.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.softmax_jacobian(np.array([0.25, 0.75]))
    array([[ 0.1875, -0.1875],
           [-0.1875,  0.1875]])
    """
    p = _arrays.as_array(p, "p")
    axes = _arrays.one_axis(axis, p.ndim)
    t = _arrays.temperature_for(temperature, _arrays.rows_of(p.shape, axes))
    result = _arrays.floating(p)
    x = _arrays.classes_last(p, axes)
    shape = (*x.shape, x.shape[-1])
    target = _arrays.target_for(out, shape, result, None, (p,), apart=(t,))
    _core.run(_core.JACOBIAN, _arrays.is_wide(result), x, y=target.array, temperature=t)
    return target.finish()


@_core.thin_softmax_vjp
def softmax_vjp(p, g, axis=-1, *, temperature=1.0, out=None):
    """Multiply a vector with the Jacobian of softmax: ``p (g - sum(p g))/T``, the backward pass.

    Parameters
    ----------
    p : array_like
        Probabilities, ``softmax(x/T)``: each row along `axis` sums to 1.
    g : array_like
        The gradient with respect to p, of p's shape. Both are cast to their common dtype.
    axis : int
        The class axis.
    temperature : float or array_like
        The T that p was computed with; an array broadcasts to the rows, p's shape without `axis`.
    out : ndarray, optional
        Where the result goes: p's shape; may be `p` or `g`.

    Returns
    -------
    ndarray or scalar
        The gradient with respect to x, of p's shape and memory order, within 4 ULP of its largest term.

    Raises
    ------
    TypeError
        A dtype that is not supported; a masked array; `axis` not one int; `out` cannot take the result.
    ValueError
        Shapes that differ; `temperature` not positive and finite; `out` of another shape, read-only, or
        overlapping itself.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    J^T g with J = (diag(p) - p p^T)/T, docs/derivation.md. Where a p is at least 1/2, its g is first taken off
    all g, which changes nothing in exact arithmetic and keeps the accuracy of a p next to one-hot.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.softmax_vjp(np.array([0.25, 0.75]), np.array([1.0, 0.0]))
    array([ 0.1875, -0.1875])
    """
    return _product(_core.VJP, p, g, "g", axis, temperature, out)


@_core.thin_softmax_jvp
def softmax_jvp(p, t, axis=-1, *, temperature=1.0, out=None):
    """Multiply the Jacobian of softmax with a vector: ``p (t - sum(p t))/T``, the forward pass.

    The Jacobian is symmetric: the same map as `softmax_vjp`. It is also the Hessian of the cross-entropy of a
    label with respect to x, times t (and T).

    Parameters
    ----------
    p : array_like
        Probabilities, ``softmax(x/T)``: each row along `axis` sums to 1.
    t : array_like
        The tangent of x, of p's shape. Both are cast to their common dtype.
    axis, temperature, out
        As in `softmax_vjp`.

    Returns
    -------
    ndarray or scalar
        The tangent of p, of p's shape and memory order.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax_vjp`.

    Notes
    -----
    J t with J = (diag(p) - p p^T)/T, docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.softmax_jvp(np.array([0.25, 0.75]), np.array([0.0, 1.0]))
    array([-0.1875,  0.1875])
    """
    return _product(_core.VJP, p, t, "t", axis, temperature, out)


@_core.thin_log_softmax_vjp
def log_softmax_vjp(p, g, axis=-1, *, temperature=1.0, out=None):
    """Multiply a vector with the Jacobian of log_softmax: ``(g - p sum(g))/T``, the backward pass.

    Parameters
    ----------
    p : array_like
        Probabilities, ``softmax(x/T)`` (not their logarithms): each row along `axis` sums to 1.
    g : array_like
        The gradient with respect to log p, of p's shape.
    axis, temperature, out
        As in `softmax_vjp`.

    Returns
    -------
    ndarray or scalar
        The gradient with respect to x, of p's shape and memory order.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax_vjp`.

    Notes
    -----
    The Jacobian is (I - 1 p^T)/T, docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.log_softmax_vjp(np.array([0.25, 0.75]), np.array([1.0, 0.0]))
    array([ 0.75, -0.75])
    """
    return _product(_core.LOG_VJP, p, g, "g", axis, temperature, out)


@_core.thin_log_softmax_jvp
def log_softmax_jvp(p, t, axis=-1, *, temperature=1.0, out=None):
    """Multiply the Jacobian of log_softmax with a vector: ``(t - sum(p t))/T``, the forward pass.

    Parameters
    ----------
    p : array_like
        Probabilities, ``softmax(x/T)`` (not their logarithms): each row along `axis` sums to 1.
    t : array_like
        The tangent of x, of p's shape.
    axis, temperature, out
        As in `softmax_vjp`.

    Returns
    -------
    ndarray or scalar
        The tangent of log p, of p's shape and memory order.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax_vjp`.

    Notes
    -----
    The Jacobian is (I - 1 p^T)/T, docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.log_softmax_jvp(np.array([0.25, 0.75]), np.array([0.0, 1.0]))
    array([-0.75,  0.25])
    """
    return _product(_core.LOG_JVP, p, t, "t", axis, temperature, out)


def _product(op, p, g, name, axis, temperature, out):
    p = _arrays.as_array(p, "p")
    g = _arrays.as_array(g, name)
    if p.shape != g.shape:
        raise ValueError(f"p has shape {p.shape} and {name} has shape {g.shape}: they must be equal")
    axes = _arrays.one_axis(axis, p.ndim)
    t = _arrays.temperature_for(temperature, _arrays.rows_of(p.shape, axes))
    try:
        result = _arrays.floating(p, g)
    except np.exceptions.DTypePromotionError:
        raise TypeError(f"p has dtype {p.dtype} and {name} has dtype {g.dtype}, which have no common dtype") from None
    target = _arrays.target_for(out, p.shape, result, p, (p, g), apart=(t,))
    x, g, y = (_arrays.classes_last(a, axes) for a in (p, g, target.array))
    _core.run(op, _arrays.is_wide(result), x, g=g, y=y, temperature=t)
    return target.finish()
