# Derivatives from probabilities: the public functions, and what computes them.


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
    return compute_jacobian(p, axis, temperature, out)


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
    return compute_product(CSM_VJP, p, g, "g", axis, temperature, out)


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
    return compute_product(CSM_VJP, p, t, "t", axis, temperature, out)


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
    return compute_product(CSM_LOG_VJP, p, g, "g", axis, temperature, out)


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
    return compute_product(CSM_LOG_JVP, p, t, "t", axis, temperature, out)


cdef compute_jacobian(object probabilities, object axis, object temperature, object out):
    cdef frame f
    cdef Py_ssize_t[CSM_MAX_NDIM + 1] shape
    cdef ndarray x = array_of(probabilities, "p"), y, t
    cdef int i, ndim
    open_call(&f, CSM_JACOBIAN, x, axis, False)
    t = take_temperature(&f, temperature)
    ndim = f.rows + 2
    for i in range(ndim):
        shape[i] = f.shape[i if i <= f.rows else f.rows]
    y = place(out, floating_type(x), ndim, shape, x, t, None, None)
    spread_jacobian(&f)
    if not put(&f, &f.call.y, y, ndim, in_order, 0):
        changed("out")
    go(&f, None)
    return finish(y, out)


cdef void spread_jacobian(frame *f) noexcept nogil:
    """Make the rows of a Jacobian an axis of the call: x and the temperatures stand still along it."""
    cdef csm_call *c = &f.call
    cdef Py_ssize_t *xs = <Py_ssize_t *>c.x.stride
    f.shape[c.ndim + 1] = f.shape[c.ndim]
    xs[c.ndim + 1] = xs[c.ndim]
    xs[c.ndim] = 0
    if c.temperatures.data:
        (<Py_ssize_t *>c.temperatures.stride)[c.ndim] = 0
    c.ndim += 1


cdef compute_product(csm_op op, object probabilities, object vector, object name, object axis, object temperature,
                     object out):
    cdef frame f
    cdef ndarray x = array_of(probabilities, "p"), g = array_of(vector, name), y, t
    cdef int kind
    open_call(&f, op, x, axis, False)
    kind = take_second(&f, x, g, "p", name)
    t = take_temperature(&f, temperature)
    y = place_like(&f, &f.call.y, out, kind, x, g, t, None, None, None, "out")
    go(&f, None)
    return finish(y, out)
