# Maps of logits: the public functions, and what computes them.


def softmax(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None):
    """Compute the softmax of logits, ``exp(x/T) / sum(exp(x/T))`` along `axis`.

    Parameters
    ----------
    x : array_like
        Logits of any shape. float16, bfloat16 (of ml_dtypes), float32 and float64 are kept; integers and bool are
        computed as float64.
    axis : int, tuple of int or None
        The class axis or axes; None for all.
    temperature : float or array_like
        T > 0: above 1 flattens, below 1 sharpens. An array broadcasts to the rows, x's shape without `axis`.
    where : array_like of bool, optional
        The classes that take part, broadcast to x. What stands elsewhere is never used; its result is 0.
    dtype : dtype, optional
        One of the four floating ones, that of the result: computed in the wider of it and x's, rounded once.
    out : ndarray, optional
        Where the result goes: x's shape, any strides, a dtype it can be cast to (``same_kind``). May be `x`.

    Returns
    -------
    ndarray or scalar
        Probabilities of x's shape and memory order, each within 3 ULP; of the 16-bit types, computed in float32
        and rounded once. A row with a NaN or +inf, or of -inf alone, is NaN; one without classes in `where` is 0.

    Raises
    ------
    TypeError
        A dtype that is not supported; `x` is a masked array; `where` not bool; `out` cannot take the result.
    ValueError
        `temperature` not positive and finite; `temperature` or `where` of a shape that does not broadcast; `out`
        of another shape, read-only, or overlapping itself.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    Bridle, J. S. (1990), "Training stochastic model recognition algorithms as networks can lead to maximum
    mutual information estimation of parameters", NIPS 2.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.softmax(np.array([1.0, 2.0, 3.0])).round(4)
    array([0.09  , 0.2447, 0.6652])
    >>> csoftmax.softmax(np.array([1.0, 2.0, np.nan]), where=np.array([True, True, False])).round(4)
    array([0.2689, 0.7311, 0.    ])
    """
    return compute_map(CSM_SOFTMAX, x, axis, temperature, where, dtype, out)


def log_softmax(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None):
    """Compute the logarithm of softmax, ``x/T - log(sum(exp(x/T)))`` along `axis`.

    Right to 4 ULP also where it is next to 0, and for logits with a large common offset.

    Parameters
    ----------
    x, axis, temperature, dtype, out
        As in `softmax`.
    where : array_like of bool, optional
        The classes that take part, broadcast to x; the result is -inf elsewhere.

    Returns
    -------
    ndarray or scalar
        Log-probabilities, at most 0, of x's shape and memory order.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Notes
    -----
    Computed as ``(x - m)/T - log1p(rest)``, m the largest logit and rest the sum of the other exponentials over
    its own: nothing cancels. See docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> print(f"{csoftmax.log_softmax(np.array([40.0, 0.0]))[0]:.12g}")
    -4.24835425529e-18
    """
    return compute_map(CSM_LOG_SOFTMAX, x, axis, temperature, where, dtype, out)


def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False, *, where=None, dtype=None, out=None):
    """Compute ``log(sum(b * exp(a)))`` without overflow.

    Parameters
    ----------
    a : array_like
        Of any shape. float16, bfloat16 (of ml_dtypes), float32 and float64 are kept; integers and bool are computed
        as float64.
    axis : int, tuple of int or None
        The axis or axes to sum over; None for all.
    b : array_like, optional
        Factors of any sign; `a` and `b` broadcast to each other, and their common dtype is kept (that of `a` for a
        number of Python). Where `b` is 0 there is no term, whatever `a` is. Any size: what counts is that of
        ``b * exp(a)``. One positive number costs no more time than none.
    keepdims : bool
        Keep summed axes with length 1.
    return_sign : bool
        Return the sign of the sum as well, and the logarithm of its absolute value.
    where : array_like of bool, optional
        The terms that take part, broadcast to `a` (and `b`).
    dtype : dtype, optional
        One of the four floating ones, that of the result.
    out : ndarray, optional
        Where the logarithm goes.

    Returns
    -------
    ndarray or scalar
        Within 2 ULP of the largest of abs(max), log(sum(exp(a - max))) and the result. -inf of nothing and of -inf
        alone, +inf if there is one and no NaN. With an array `b`, within 2 ULP of the largest of abs(max),
        abs(log(t)) and t/abs(s), s being the sum over ``exp(max)`` and t that of ``abs(b) * exp(a - max)``; NaN where
        the sum is negative, unless `return_sign`. With one positive number `b`, the result without it plus log(b),
        within 3 ULP of the largest of these terms.
    sign : ndarray or scalar
        If `return_sign`: 1, 0, -1, or NaN where the sum is NaN; native, and of the dtype that the result has without
        `out`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`; `a` and `b` of shapes that do not broadcast.

    Notes
    -----
    Signature and conventions of ``scipy.special.logsumexp``; the sign of an empty sum is 0.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.logsumexp(np.array([1000.0, 1000.0]))
    np.float64(1000.6931471805599)
    >>> csoftmax.logsumexp(np.array([1000.0, 1000.0]), b=np.array([1.0, -3.0]), return_sign=True)
    (np.float64(1000.6931471805599), np.float64(-1.0))
    """
    cdef double factor = 1
    if b is not None:
        if not ((type(b) is float or type(b) is int) and is_number(b, &factor) and 0 < factor < INFINITY):
            factor = 0
        if factor == 0 and dtype is None and cnp.PyArray_CheckScalar(b):
            factor, dtype = _coerce.factor_of(array_of(a, "a"), array_of(b, "b"))
        if factor == 0:
            return compute_factors(a, b, axis, keepdims, return_sign, where, dtype, out)
    return compute_reduction(CSM_LOGSUMEXP, a, "a", axis, 1.0, where, keepdims, dtype, out, factor, return_sign)


def selective_log_softmax(x, index, axis=-1, *, temperature=1.0, softcap=None, where=None, ignore_index=None,
                          dtype=None, out=None):
    """Compute the log-probabilities of chosen classes, ``log_softmax(x)[index]``, without those of the others.

    Parameters
    ----------
    x : array_like
        Logits of any shape; "rows" are the shape without `axis`. dtypes as in `softmax`.
    index : array_like
        Class indices in [0, n), of any integer type or whole floats: one per row, broadcast to the rows, or k per row
        in an array of shape rows + (k,), k standing last whatever `axis` is.
    axis : int
        The class axis, of length n.
    temperature, dtype
        As in `softmax`.
    softcap : float, optional
        Positive: ``softcap * tanh(x/softcap)`` takes the place of `x`, before T divides.
    where : array_like of bool, optional
        The classes that take part, broadcast to x; the result of an index outside is -inf.
    ignore_index : int, optional
        An index for which the result is 0, whatever stands in the row; None: there is none.
    out : ndarray, optional
        Where the result goes: rows, or rows + (k,).

    Returns
    -------
    ndarray or scalar
        Log-probabilities, shaped like the rows or rows + (k,), each within 4 ULP.

    Raises
    ------
    IndexError
        A class index outside [0, n) other than `ignore_index`: the first such row and its index are named, nothing is
        written.
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`; `index` bool, of fractions, or of a shape that does not match; `softcap` not positive and finite.

    Notes
    -----
    Minus the loss of `cross_entropy` under ``reduction="none"``, docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> x = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    >>> csoftmax.selective_log_softmax(x, np.array([0, 2])).round(4)
    array([-0.4076, -1.0986])
    >>> csoftmax.selective_log_softmax(x, np.array([[0, 1], [2, 2]])).round(4)
    array([[-0.4076, -1.4076],
           [-1.0986, -1.0986]])
    """
    return compute_selective(x, index, axis, temperature, softcap, where, ignore_index, dtype, out)


def softmax_entropy(x, axis=-1, *, temperature=1.0, where=None, keepdims=False, return_grad=False, dtype=None,
                    out=None):
    """Compute the entropy of softmax, ``-sum(p * log(p))`` with ``p = softmax(x/T)``, in nats.

    Parameters
    ----------
    x, axis, temperature, dtype
        As in `softmax`.
    where : array_like of bool, optional
        The classes that take part, broadcast to x; without any, the entropy is 0.
    keepdims : bool
        Keep class axes with length 1.
    return_grad : bool
        Return the gradient of the entropies' sum with respect to `x` as well, ``-p * (log(p) + H)/T``.
    out : ndarray, optional
        Where the entropy goes; with `return_grad` where the gradient goes, and the entropy is a new array. Then it has
        x's shape and may be `x`.

    Returns
    -------
    entropy : ndarray or scalar
        Between 0 and log(n), within 4 ULP; x's shape without `axis`. NaN where softmax is.
    grad : ndarray or scalar
        If `return_grad`: x's shape and memory order, the entropy's dtype; within 5 ULP of ``p/T`` times the larger of
        ``(m - x)/T``, m the row's maximum, and the mean of it under p. 0 where p is 0, and of classes that take no
        part.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Notes
    -----
    Computed as ``L + sum(e * (m - x)/T) / sum(e)`` from the logits, e their exponentials, m the largest and L the
    logarithm of the sum over its exponential: p = 0 contributes 0. The gradient is ``p * (d - sum(p * d))/T`` with
    ``d = (m - x)/T``. See docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.softmax_entropy(np.array([[0.0, 0.0], [0.0, -np.inf]])).round(4)
    array([0.6931, 0.    ])
    >>> csoftmax.softmax_entropy(np.array([1.0, 0.0]), return_grad=True)[1].round(4)
    array([-0.1966,  0.1966])
    """
    if return_grad:
        return compute_entropy_gradient(x, axis, temperature, where, keepdims, dtype, out)
    return compute_reduction(CSM_ENTROPY, x, "x", axis, temperature, where, keepdims, dtype, out, 1, False)


cdef compute_map(csm_op op, object logits, object axis, object temperature, object where, object dtype, object out):
    cdef frame f
    cdef ndarray x = array_of(logits, "x"), y, t, mask
    open_call(&f, op, x, axis, True)
    t = take_temperature(&f, temperature)
    mask = take_where(&f, where)
    y = place_like(&f, &f.call.y, out, take_dtype(&f, dtype, x), x, None, t, mask, None, None, "out")
    go(&f, None)
    return finish(y, out)


cdef compute_reduction(csm_op op, object logits, object name, object axis, object temperature, object where,
                       bint keepdims, object dtype, object out, double factor, bint return_sign):
    """A number per row; of sums times `factor`, and with their signs if `return_sign`."""
    cdef frame f
    cdef Py_ssize_t[CSM_MAX_NDIM] shape
    cdef ndarray x = array_of(logits, name), r, t, mask, log, sign
    cdef int kind, ndim
    cdef double more
    open_call(&f, op, x, axis, True)
    t = take_temperature(&f, temperature)
    mask = take_where(&f, where)
    kind = take_dtype(&f, dtype, x)
    ndim = reduced_shape(&f, keepdims, shape)
    if axis is None and where is None:
        flatten(&f, x)
    r = place(out, kind, ndim, shape, x, t, mask, None)
    if not return_sign and factor == 1:
        put_reduced(&f, r, ndim, keepdims)
        go(&f, None)
        return finish(r, out)
    log, sign = new_signed(&f, r, out, ndim, shape)
    put_reduced(&f, log, ndim, keepdims)
    go(&f, None)
    more = math.log(factor)
    if f.call.dtype == CSM_F64:
        scale_sums(<double *>cnp.PyArray_DATA(log), <double *>cnp.PyArray_DATA(sign), cnp.PyArray_SIZE(log), more)
    else:
        scale_sums(<float *>cnp.PyArray_DATA(log), <float *>cnp.PyArray_DATA(sign), cnp.PyArray_SIZE(log), more)
    return finish_signed(log, sign, r, kind, out, return_sign)


cdef inline int put_reduced(frame *f, ndarray r, int ndim, bint keepdims) except -1:
    """Point the call at an array for a number per row."""
    if not put(f, &f.call.r, r, ndim, &f.place[0] if keepdims else &in_order[0], 0):
        changed("out")
    return 0


cdef int reduced_shape(frame *f, bint keepdims, Py_ssize_t *shape) noexcept:
    """The shape of a number per row, class axes kept with length 1 or not; returns its number of axes."""
    cdef int i, ndim = f.ndim if keepdims else f.rows
    for i in range(ndim):
        shape[i] = f.shape[i] if not keepdims else f.shape[f.place[i]] if f.place[i] < f.rows else 1
    return ndim


cdef tuple new_signed(frame *f, ndarray result, object out, int ndim, Py_ssize_t *shape):
    """Arrays for logarithms and signs of sums in the dtype of the computation; the first is a new result of that."""
    sign = cnp.PyArray_SimpleNew(ndim, <cnp.npy_intp *>shape, real_type(f))
    if out is None and cnp.PyArray_TYPE(result) == real_type(f):
        return result, sign
    return cnp.PyArray_SimpleNew(ndim, <cnp.npy_intp *>shape, real_type(f)), sign


cdef object finish_signed(ndarray log, ndarray sign, ndarray result, int kind, object out, bint return_sign):
    """What the caller gets of logarithms and signs of sums; the signs have the type number `kind`."""
    if log is not result:
        _coerce.copy(log, result)
    first = finish(result, out)
    if not return_sign:
        return first
    return first, finish(sign if kind == cnp.PyArray_TYPE(sign) else cnp.PyArray_Cast(sign, kind), None)


cdef compute_entropy_gradient(object logits, object axis, object temperature, object where, bint keepdims,
                              object dtype, object out):
    """The entropy of each row, and its gradient, for which `out` is."""
    cdef frame f
    cdef Py_ssize_t[CSM_MAX_NDIM] shape
    cdef ndarray x = array_of(logits, "x"), y, r, t, mask
    cdef int kind, ndim
    open_call(&f, CSM_ENTROPY, x, axis, True)
    t = take_temperature(&f, temperature)
    mask = take_where(&f, where)
    kind = take_dtype(&f, dtype, x)
    y = place_like(&f, &f.call.y, out, kind, x, None, t, mask, None, None, "out")
    ndim = reduced_shape(&f, keepdims, shape)
    r = cnp.PyArray_SimpleNew(ndim, <cnp.npy_intp *>shape, kind)
    put_reduced(&f, r, ndim, keepdims)
    go(&f, None)
    return finish(r, None), finish(y, out)


cdef void scale_sums(real *log, real *sign, Py_ssize_t count, double more) noexcept:
    """Add a number to logarithms of sums; give the signs of the sums, NaN where they are."""
    cdef Py_ssize_t i
    for i in range(count):
        sign[i] = log[i] if log[i] != log[i] else log[i] > -INFINITY
        log[i] = <real>(log[i] + more)


cdef compute_factors(object logits, object factors, object axis, bint keepdims, bint return_sign, object where,
                     object dtype, object out):
    """Logarithms of sums with an array of factors, or with a number that is not positive."""
    cdef frame f
    cdef Py_ssize_t[CSM_MAX_NDIM] shape
    cdef ndarray x = array_of(logits, "a"), b = array_of(factors, "b"), pairs, r, log, sign, mask
    cdef cnp.npy_intp numbers
    cdef int kind, ndim
    cdef bint weak = type(factors) in (bool, int, float)
    if cnp.PyArray_NDIM(b) > cnp.PyArray_NDIM(x):
        x, b = _coerce.broadcast_factors(x, b)
    open_call(&f, CSM_LOGSUMEXP_B, x, axis, True)
    if not put_whole(&f, &f.call.g, b):
        x, b = _coerce.broadcast_factors(x, b)
        open_call(&f, CSM_LOGSUMEXP_B, x, axis, True)
        if not put_whole(&f, &f.call.g, b):
            changed("b")
    mask = take_where(&f, where)
    kind = cnp.PyArray_TYPE(x)
    if weak or dtype is not None or cnp.PyArray_TYPE(b) != kind or code_of(x) > CSM_BF16:
        wide, result = _coerce.result_dtype(dtype, _coerce.floating(x) if weak else _coerce.floating(x, b))
        f.call.dtype = CSM_F64 if wide or weak else CSM_F32
        kind = (<cnp.dtype>result).num
    ndim = reduced_shape(&f, keepdims, shape)
    r = place(out, kind, ndim, shape, x, b, mask, None)
    log, sign = new_signed(&f, r, out, ndim, shape)
    numbers = 2 * cnp.PyArray_SIZE(log)
    pairs = cnp.PyArray_SimpleNew(1, &numbers, real_type(&f))
    put_adjacent(&f, &f.call.r, cnp.PyArray_DATA(pairs), f.call.dtype, 2 * cnp.PyArray_ITEMSIZE(pairs), f.rows)
    f.stride[f.arrays - 1][f.rows] = cnp.PyArray_ITEMSIZE(pairs)
    go(&f, None)
    if f.call.dtype == CSM_F64:
        split_pairs(<const double *>cnp.PyArray_DATA(pairs), <double *>cnp.PyArray_DATA(log),
                    <double *>cnp.PyArray_DATA(sign), cnp.PyArray_SIZE(log), return_sign)
    else:
        split_pairs(<const float *>cnp.PyArray_DATA(pairs), <float *>cnp.PyArray_DATA(log),
                    <float *>cnp.PyArray_DATA(sign), cnp.PyArray_SIZE(log), return_sign)
    return finish_signed(log, sign, r, kind, out, return_sign)


cdef void split_pairs(const real *pair, real *log, real *sign, Py_ssize_t count, bint with_sign) noexcept:
    """Logarithms and signs from pairs of both; without signs there is no logarithm of a negative number."""
    cdef Py_ssize_t i
    for i in range(count):
        sign[i] = pair[2 * i + 1]
        log[i] = pair[2 * i] if with_sign or sign[i] >= 0 else <real>NAN


cdef compute_selective(object logits, object index, object axis, object temperature, object softcap, object where,
                       object ignore_index, object dtype, object out):
    cdef frame f
    cdef Py_ssize_t[CSM_MAX_NDIM + 1] shape
    cdef ndarray x = array_of(logits, "x"), labels, r, t, mask
    cdef Py_ssize_t size = 1
    cdef int i, kind, ndim, slots
    open_call(&f, CSM_SELECTIVE, x, axis, False)
    t = take_temperature(&f, temperature)
    mask = take_where(&f, where)
    take_softcap(&f.call, softcap)
    if ignore_index is not None:
        set_ignored(&f.call, _coerce.as_index(ignore_index, "ignore_index"))
    kind = take_dtype(&f, dtype, x)
    labels = labels_of(index, "index")
    ndim = cnp.PyArray_NDIM(labels)
    slots = ndim - f.rows
    if not 0 <= slots <= 1 or not put(&f, &f.call.target, labels, f.rows, in_order, slots):
        _coerce.refuse_index(labels, x_shape(&f), rows_shape(&f))
        changed("index")
    if slots:
        f.call.slots = cnp.PyArray_DIM(labels, f.rows)
    for i in range(ndim):
        shape[i] = f.shape[i] if i < f.rows else f.call.slots
        size *= shape[i] != 0
    r = place(out, kind, ndim, shape, x, t, mask, None)
    if not put(&f, &f.call.r, r, f.rows, in_order, slots):
        changed("out")
    if size:
        go(&f, "index")
    else:                                               # there is no memory to write to
        check(&f, NULL, "index")
    return finish(r, out)
