# The expectation of values under softmax: the public function, and what computes it.


def softmax_expectation(x, values, axis=-1, *, temperature=1.0, where=None, return_grad=False, out=None):
    """Compute the expectation of values under softmax, ``sum(p * values)`` with ``p = softmax(x/T)``.

    The probabilities are never stored.

    Parameters
    ----------
    x : array_like
        Logits of any shape; "rows" are the shape without `axis`. dtypes as in `softmax`.
    values : array_like
        One vector, shape (n,): the value of each class, whatever `axis` is. Or an array that broadcasts to `x`. Taken
        in the dtype of `x`, float32 for 16-bit ones.
    axis : int
        The class axis, of length n.
    temperature : float or array_like
        T > 0; an array broadcasts to the rows.
    where : array_like of bool, optional
        The classes that take part, broadcast to `x`; without any, the expectation is 0.
    return_grad : bool
        Return the gradient of the expectations' sum with respect to `x` as well, ``p * (values - E)/T``.
    out : ndarray, optional
        Where the expectation goes; with `return_grad` where the gradient goes, and the expectation is a new array.
        Then it has x's shape and may be `x`.

    Returns
    -------
    expectation : ndarray or scalar
        E, x's shape without `axis`, in the dtype of `x`; within 4 ULP of the larger of abs(E) and
        ``sum(p * abs(values - c))``, c the value at the largest logit. NaN where softmax is.
    grad : ndarray or scalar
        If `return_grad`: x's shape and memory order; within 5 ULP of ``p/T`` times the sum of ``abs(values - c)``
        and ``sum(p * abs(values - c))``. 0 of classes that take no part.

    Raises
    ------
    TypeError
        As `softmax`; `values` of a dtype that is not supported, or a masked array.
    ValueError
        As `softmax`; `values` of another length than n, or of a shape that does not broadcast to that of `x`.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    Computed as ``E = c + sum(e * (values - c)) / sum(e)``, e the exponentials of the logits: next to one-hot the
    gradient does not cancel. A class whose logit is -inf contributes nothing, whatever its value; where another value
    is infinite or NaN, the expectation is not finite. See docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.softmax_expectation(np.array([[0.0, 0.0], [0.0, np.log(3)]]), np.array([1.0, 5.0])).round(4)
    array([3., 4.])
    >>> csoftmax.softmax_expectation(np.zeros(2), np.array([1.0, 5.0]), return_grad=True)[1]
    array([-1.,  1.])
    """
    return compute_expectation(x, values, axis, temperature, where, return_grad, out)


cdef compute_expectation(object logits, object values, object axis, object temperature, object where,
                         bint return_grad, object out):
    cdef frame f
    cdef ndarray x = array_of(logits, "x"), v, r, t, mask, y = None
    cdef int kind = floating_type(x)
    open_call(&f, CSM_EXPECTATION, x, axis, False)
    v = take_values(&f, values)
    t = take_temperature(&f, temperature)
    mask = take_where(&f, where)
    if return_grad:
        y = place_like(&f, &f.call.y, out, kind, x, None, t, mask, v, None, "out")
    r = place(None if return_grad else out, kind, f.rows, f.shape, x, t, mask, v)
    if not put_rows(&f, &f.call.r, r):
        changed("out")
    go(&f, None)
    return (finish(r, None), finish(y, out)) if return_grad else finish(r, out)


cdef ndarray take_values(frame *f, object values):
    """Set the values of the classes, or those of each row, and return them, to be kept for the call."""
    cdef ndarray v = array_of(values, "values")
    if cnp.PyArray_NDIM(v) == 1 and cnp.PyArray_DIM(v, 0) == f.shape[f.rows]:
        v = doubles(v, "values", cnp.NPY_ARRAY_C_CONTIGUOUS)
        if put(f, &f.call.weight, v, 1, &f.rows, 0):
            return v
    elif cnp.PyArray_NDIM(v) != 1 and put_whole(f, &f.call.g, v):
        return v
    _coerce.refuse_values(v, x_shape(f), f.shape[f.rows])
    changed("values")
