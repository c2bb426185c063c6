# Rows of various lengths, one after another in an array, as CSR has them: the public functions, and what computes them.


def segment_softmax(x, offsets, *, temperature=1.0, out=None):
    """Compute the softmax of each of several rows of various lengths that lie one after another.

    Parameters
    ----------
    x : array_like
        Logits, shape (m,). dtypes as in `softmax`.
    offsets : array_like of int
        Where rows begin, shape (rows + 1,), as the ``indptr`` of CSR: row i is ``x[offsets[i]:offsets[i + 1]]``. From 0
        to m, never falling; a row may be empty.
    temperature : float or array_like
        T > 0; an array broadcasts to the rows, shape (rows,).
    out : ndarray, optional
        Where the result goes: x's shape, any strides, a dtype it can be cast to (``same_kind``). May be `x`.

    Returns
    -------
    ndarray
        Probabilities of x's shape; each row has the bits that `softmax` gives it alone, in an array of shape (1, n).

    Raises
    ------
    TypeError
        As `softmax`.
    ValueError
        As `softmax`; `x` not of one axis; `offsets` not integers of one axis, not from 0, falling, or not ending at m:
        the place is named, nothing is written.

    Notes
    -----
    The softmax of graph attention, Veličković, P. et al. (2018), "Graph attention networks", ICLR. A row is computed by
    one thread.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.segment_softmax(np.zeros(5), [0, 2, 2, 5]).round(4)
    array([0.5   , 0.5   , 0.3333, 0.3333, 0.3333])
    """
    return compute_segments(CSM_SOFTMAX, x, offsets, temperature, out)


def segment_log_softmax(x, offsets, *, temperature=1.0, out=None):
    """Compute the logarithm of `segment_softmax`, as `log_softmax` does.

    Parameters
    ----------
    x, offsets, temperature, out
        As in `segment_softmax`.

    Returns
    -------
    ndarray
        Log-probabilities of x's shape.

    Raises
    ------
    TypeError, ValueError
        As `segment_softmax`.

    Notes
    -----
    See `log_softmax` and docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.segment_log_softmax(np.zeros(3), [0, 1, 3]).round(4)
    array([ 0.    , -0.6931, -0.6931])
    """
    return compute_segments(CSM_LOG_SOFTMAX, x, offsets, temperature, out)


def segment_logsumexp(x, offsets, *, temperature=1.0, out=None):
    """Compute ``log(sum(exp(x/T)))`` of each of several rows of various lengths that lie one after another.

    Parameters
    ----------
    x, offsets, temperature
        As in `segment_softmax`.
    out : ndarray, optional
        Where the result goes, shape (rows,).

    Returns
    -------
    ndarray
        A number for each row, shape (rows,), in the dtype of `x`; -inf of an empty row.

    Raises
    ------
    TypeError, ValueError
        As `segment_softmax`.

    Notes
    -----
    See `logsumexp` and docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.segment_logsumexp(np.zeros(5), [0, 2, 2, 5]).round(4)
    array([0.6931,   -inf, 1.0986])
    """
    return compute_segment_sums(x, offsets, temperature, out)


def segment_softmax_vjp(p, g, offsets, *, out=None):
    """Multiply a vector with the Jacobian of `segment_softmax`: ``p (g - sum(p g))`` in each row, the backward pass.

    Parameters
    ----------
    p : array_like
        Probabilities, ``segment_softmax(x, offsets)``, shape (m,).
    g : array_like
        The gradient with respect to p, shape (m,). Both are cast to their common dtype.
    offsets : array_like of int
        As in `segment_softmax`.
    out : ndarray, optional
        Where the result goes: p's shape; may be `p` or `g`.

    Returns
    -------
    ndarray
        The gradient with respect to x, of p's shape. Divide it by the temperature, if there was one.

    Raises
    ------
    TypeError, ValueError
        As `segment_softmax`; shapes that differ.

    Notes
    -----
    See `softmax_vjp` and docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> csoftmax.segment_softmax_vjp(np.array([0.25, 0.75, 1.0]), np.array([1.0, 0.0, 1.0]), [0, 2, 3])
    array([ 0.1875, -0.1875,  0.    ])
    """
    return compute_segment_product(p, g, offsets, out)


def segment_cross_entropy(x, target, offsets, *, sample_weight=None, reduction="mean", return_grad=False, out=None):
    """Compute the cross-entropy of rows of various lengths that lie one after another and, if asked, its gradient.

    Parameters
    ----------
    x : array_like
        Logits, shape (m,). dtypes as in `softmax`.
    target : array_like
        Integers, shape (rows,): the position of the target in its row. Or floating numbers of x's shape: probabilities,
        which need not sum to 1.
    offsets : array_like of int
        As in `segment_softmax`.
    sample_weight : array_like, optional
        Of each row, broadcast to the rows; of any sign. A row of weight 0 is never read.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of rows, empty ones among them. "none" gives the loss of every row.
    return_grad : bool
        Return the gradient of the reduced loss (of the sum, for "none") with respect to `x` as well.
    out : ndarray, optional
        Where the gradient goes: x's shape; may be `x`.

    Returns
    -------
    loss : scalar or ndarray
        In nats, of the dtype of `x`, float32 for 16-bit ones; shape (rows,) if `reduction` is "none". An empty row,
        which only probabilities can have, has the loss 0.
    grad : ndarray
        If `return_grad`: of x's shape and dtype.

    Raises
    ------
    IndexError
        A position outside its row, as any is outside an empty row: the first such row and the position are named,
        nothing is written.
    TypeError, ValueError
        As `segment_softmax`; `target` bool, a pair, or of a shape that does not match; `reduction` unknown; `out`
        without `return_grad`.

    Notes
    -----
    See `cross_entropy` and docs/derivation.md. The loss of a listwise ranking (ListNet): Cao, Z. et al. (2007),
    "Learning to rank: from pairwise approach to listwise approach", ICML; and of a conditional logit.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> loss, grad = csoftmax.segment_cross_entropy(np.zeros(3), [0, 1], [0, 1, 3], reduction="sum", return_grad=True)
    >>> loss.round(4), grad
    (np.float64(0.6931), array([ 0. ,  0.5, -0.5]))
    """
    return compute_segment_loss(x, target, offsets, sample_weight, reduction, return_grad, out)


# ---- arguments ----

cdef ndarray flat(object x, object name):
    """An array of one axis."""
    cdef ndarray a = array_of(x, name)
    if cnp.PyArray_NDIM(a) != 1:
        raise ValueError(f"{name} has shape {x_shape_of(a)}, but rows one after another take an array of one axis")
    return a


cdef tuple x_shape_of(ndarray a):
    return tuple([cnp.PyArray_DIM(a, i) for i in range(cnp.PyArray_NDIM(a))])


cdef ndarray native(ndarray a, int kind):
    """`a` as adjacent, native and aligned numbers of what the core computes in for results of a type number."""
    cdef int computed = cnp.NPY_FLOAT64 if kind == cnp.NPY_FLOAT64 else cnp.NPY_FLOAT32
    return cnp.PyArray_FROMANY(
        a, computed, 1, 1, cnp.NPY_ARRAY_CARRAY_RO | cnp.NPY_ARRAY_NOTSWAPPED | cnp.NPY_ARRAY_FORCECAST
    )


cdef ndarray offsets_of(object given, Py_ssize_t size):
    """Offsets that are right for so many numbers, in an array that nobody else can change."""
    cdef ndarray a = _coerce.as_offsets(given)
    cdef const Py_ssize_t *at = <const Py_ssize_t *>cnp.PyArray_DATA(a)
    cdef Py_ssize_t i, last = cnp.PyArray_SIZE(a) - 1
    cdef bint good = at[0] == 0 and at[last] == size
    for i in range(last):
        good &= at[i] <= at[i + 1]
    if not good:
        _coerce.refuse_offsets(given, size)
    return a


cdef int open_segments(frame *f, csm_op op, ndarray x, ndarray offsets) except -1:
    """Begin a call on adjacent numbers: its rows have an axis of their own, along which x stands still."""
    cdef const Py_ssize_t *at = <const Py_ssize_t *>cnp.PyArray_DATA(offsets)
    cdef Py_ssize_t rows = cnp.PyArray_SIZE(offsets) - 1
    open_call(f, op, x, 0, False)
    if f.ndim != 1 or f.shape[0] != at[rows]:
        changed("x")
    f.shape[1], f.shape[0] = f.shape[0], rows
    f.stride[0][1], f.stride[0][0] = f.stride[0][0], 0
    f.place[0] = 1
    f.rows = f.call.ndim = 1
    f.call.offset = at
    return 0


# ---- results ----

cdef ndarray place_segments(frame *f, object out, int kind, ndarray x, ndarray g, ndarray a):
    """Point the call at adjacent numbers for a result of x's shape: those of `out` where that can be, else new ones.

    They may lie like x or g, and share no memory with a. `finish_segments` makes of them what the caller gets.
    """
    cdef ndarray y = None
    cdef cnp.npy_intp size = f.shape[1]
    if out is not None:
        _coerce.check_out(out, (size,), cnp.PyArray_DescrFromType(kind))
        if is_writable(out, real_type(f)) and cnp.PyArray_ISBEHAVED(<ndarray>out) and apart(<ndarray>out, a):
            y = <ndarray>out
            if not (apart(y, x) or same_memory(y, x)) or not (g is None or apart(y, g) or same_memory(y, g)):
                y = None
    if y is None:
        y = cnp.PyArray_SimpleNew(1, &size, real_type(f))
    if not put_whole(f, &f.call.y, y):
        changed("out")
    return y


cdef object finish_segments(ndarray y, object out, int kind):
    """What the caller gets of a result, whose type number is `kind` where there is no `out`."""
    if out is None and cnp.PyArray_TYPE(y) != kind:
        out = cnp.PyArray_SimpleNew(1, cnp.PyArray_DIMS(y), kind)
    return finish(y, out)


cdef compute_segments(csm_op op, object logits, object offsets, object temperature, object out):
    cdef frame f
    cdef ndarray given = flat(logits, "x"), x, at, y, t
    cdef int kind = floating_type(given)
    x = native(given, kind)
    at = offsets_of(offsets, cnp.PyArray_SIZE(x))
    open_segments(&f, op, x, at)
    t = take_temperature(&f, temperature)
    y = place_segments(&f, out, kind, x, None, t)
    go(&f, None)
    return finish_segments(y, out, kind)


cdef compute_segment_sums(object logits, object offsets, object temperature, object out):
    cdef frame f
    cdef ndarray given = flat(logits, "x"), x, at, r, t
    cdef int kind = floating_type(given)
    x = native(given, kind)
    at = offsets_of(offsets, cnp.PyArray_SIZE(x))
    open_segments(&f, CSM_LOGSUMEXP, x, at)
    t = take_temperature(&f, temperature)
    r = place(out, kind, 1, f.shape, x, t, None, None)
    if not put_rows(&f, &f.call.r, r):
        changed("out")
    go(&f, None)
    return finish(r, out)


cdef compute_segment_product(object probabilities, object vector, object offsets, object out):
    cdef frame f
    cdef ndarray p = flat(probabilities, "p"), g = flat(vector, "g"), x, at, y
    cdef int kind = (<cnp.dtype>_coerce.common_dtype(p, g, "g")).num
    x = native(p, kind)
    at = offsets_of(offsets, cnp.PyArray_SIZE(x))
    open_segments(&f, CSM_VJP, x, at)
    g = native(g, kind)
    if not same_shape(&f, g) or not put_whole(&f, &f.call.g, g):
        raise ValueError(f"p has shape {x_shape_of(x)} and g has shape {x_shape_of(g)}: they must be equal")
    y = place_segments(&f, out, kind, x, g, None)
    go(&f, None)
    return finish_segments(y, out, kind)


cdef compute_segment_loss(object logits, object target, object offsets, object sample_weight, object reduction,
                          bint return_grad, object out):
    cdef frame f
    cdef ndarray given = flat(logits, "x"), x, at, s, kept, y = None, r
    cdef int kind = floating_type(given)
    cdef double loss = 0
    if out is not None and not return_grad:
        raise ValueError("out receives the gradient: it needs return_grad=True")
    x = native(given, kind)
    at = offsets_of(offsets, cnp.PyArray_SIZE(x))
    open_segments(&f, CSM_CROSS_ENTROPY, x, at)
    take_reduction(&f.call, reduction, None)
    s = take_sample_weight(&f, sample_weight)
    kept = take_segment_target(&f, target, kind)
    if return_grad:
        y = place_segments(&f, out, kind, x, kept if f.call.g.data else None, s)
    r = place_losses(&f, &loss)
    go(&f, "target")
    result = scalar_like(given, loss) if r is None else r
    return (result, finish_segments(y, out, kind)) if return_grad else result


cdef ndarray take_segment_target(frame *f, object target, int kind):
    """Set what the loss is of, positions or probabilities, and return it, to be kept for the call."""
    cdef ndarray a = _coerce.segment_target(target)
    if cnp.PyArray_NDIM(a) == 1 and 0 <= code_of(a) <= CSM_BF16:
        a = native(a, kind)
        f.call.op = CSM_SOFT_CROSS_ENTROPY
        if same_shape(f, a) and put_whole(f, &f.call.g, a):
            return a
    elif cnp.PyArray_NDIM(a) == 1 and cnp.PyArray_DIM(a, 0) == f.shape[0] and put_rows(f, &f.call.target, a):
        return a
    _coerce.refuse_segment_target(a, f.shape[1], f.shape[0])
    changed("target")
