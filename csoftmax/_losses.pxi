# Losses: the public functions, and what computes them.


def cross_entropy(
    logits,
    target,
    axis=-1,
    *,
    weight=None,
    sample_weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    focal_gamma=0.0,
    z_loss=0.0,
    softcap=None,
    temperature=1.0,
    where=None,
    reduction="mean",
    normalizer=None,
    return_grad=False,
    out=None,
):
    """Compute the softmax cross-entropy loss and, if asked, its gradient in the same pass.

    With ``v = logits/T`` and ``L = log(sum(exp(v)))`` a row's loss is ``sum(c * (L - v)) + z_loss * L**2``, times
    `sample_weight`, where ``c = weight * ((1 - label_smoothing) * t + label_smoothing/n)`` and t is one-hot for a
    class index, or the target probabilities. Its gradient is ``((sum(c) + 2 * z_loss * L) * softmax(v) - c)/T``,
    times `sample_weight`. With `where`, sums and n are those of the classes that take part.

    Parameters
    ----------
    logits : array_like
        Any shape, classes along `axis`; "rows" are the shape without it. float16, bfloat16 (of ml_dtypes), float32
        and float64 are kept; integers and bool are computed as float64.
    target : array_like or tuple
        With the rows' number of axes: class indices in [0, n), of any integer type or whole floats, broadcast to the
        rows. With the shape of `logits`: probabilities, which need not sum to 1. A tuple ``(index, prob)``, both of
        shape rows + (k,), k standing last whatever `axis` is: probabilities of k classes, the others' being 0;
        those of an index that occurs twice add up.
    axis : int
        The class axis, of length n.
    weight : array_like, optional
        Of each class, shape (n,).
    sample_weight : array_like, optional
        Of each row, broadcast to the rows; of any sign.
    ignore_index : int or None
        Rows with this index are never read and get zero loss and gradient; None: no row is ignored. In
        ``(index, prob)`` an entry with this index is padding, and a row of padding alone is ignored.
    label_smoothing : float
        In [0, 1]: the share of the target that goes to all classes, or to those in `where`, evenly.
    focal_gamma : float
        Not negative: multiplies each row's loss by ``(1 - p)**focal_gamma``, p the probability of its class index. Not
        with probabilities, `label_smoothing` or `z_loss`.
    z_loss : float
        The factor of ``L**2``.
    softcap : float, optional
        Positive: ``softcap * tanh(logits/softcap)`` takes the place of `logits`, before T divides.
    temperature : float or array_like
        T > 0; an array broadcasts to the rows.
    where : array_like of bool, optional
        The classes that take part, broadcast to `logits`. What stands elsewhere is never used: its p and its gradient
        are 0. The loss is inf where the target is outside, as it always is in a row without classes in `where`.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the sum of ``weight[target]`` over the rows that are not ignored (class indices), or by
        their number (probabilities, or no `weight`); `sample_weight` plays no part in that. "none" gives the loss
        of every row.
    normalizer : float, optional
        What "mean" divides by instead; 0 only where no row counts, whose loss and gradient are 0.
    return_grad : bool
        Return the gradient of the reduced loss (of the sum, for "none") with respect to `logits` as well.
    out : ndarray, optional
        Where the gradient goes: the shape of `logits`; may be `logits` itself.

    Returns
    -------
    loss : scalar or ndarray
        In nats, of the dtype of `logits`, float32 for 16-bit ones; shaped like the rows if `reduction` is "none". The
        mean of no rows is nan, 0 with `normalizer`.
    grad : ndarray
        If `return_grad`: shape, dtype and memory order of `logits`.

    Raises
    ------
    IndexError
        A class index outside [0, n): the first such row and its index are named, nothing is written.
    TypeError
        A dtype that is not supported; bool class indices; masked arrays; `where` not bool; `out` cannot take the
        gradient.
    ValueError
        A class index that is not a whole number; shapes that do not match; an option outside its range;
        `ignore_index` with probabilities; `focal_gamma` with probabilities, `label_smoothing` or `z_loss`;
        `normalizer` without "mean"; `out` without `return_grad`.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    The loss of an index is ``log1p(rest/e)``, e the target's exponential and rest the sum of the others, never
    ``logsumexp - logit``: it is right to 4 ULP at any margin and offset, and so is the target's own gradient,
    ``-rest/sum``. A class with c = 0 contributes 0 also where its logit is -inf. See docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    >>> loss, grad = csoftmax.cross_entropy(logits, np.array([0, 2]), return_grad=True)
    >>> loss
    np.float64(0.753109126556245)
    >>> grad.round(4)
    array([[-0.1674,  0.1224,  0.045 ],
           [ 0.1667,  0.1667, -0.3333]])
    >>> pair = np.array([[0, 1], [2, -100]]), np.array([[0.75, 0.25], [1.0, 0.0]])
    >>> csoftmax.cross_entropy(logits, pair, reduction="none").round(4)
    array([0.6576, 1.0986])
    """
    return compute_loss(
        logits, target, axis, weight, sample_weight, ignore_index, label_smoothing, focal_gamma, z_loss, softcap,
        temperature, where, reduction, normalizer, return_grad, out
    )


def softmax_grad_hess(raw, y, *, sample_weight=None, hessian="diagonal", eps=1e-16, out=None):
    """Compute gradient and diagonal Hessian of the cross-entropy, as boosting libraries want them.

    With ``p = softmax(raw)`` and t one-hot for a class index, or the target probabilities, the gradient is
    ``sample_weight * (sum(t) * p - t)``; the Hessian is ``sample_weight * sum(t) * p * (1 - p)`` times the factor
    of a rule, and at least `eps`.

    Parameters
    ----------
    raw : array_like
        Scores of n samples and K classes, shape (n, K), in C or Fortran order. dtypes as in `softmax`.
    y : array_like
        Class indices in [0, K), of any integer type or whole floats, shape (n,); or probabilities, shape (n, K).
    sample_weight : array_like, optional
        Of each sample, broadcast to (n,).
    hessian : {"diagonal", "upper", "friedman", "residual"}
        The rule. "diagonal": factor 1, the Hessian's own diagonal; "upper": 2, an upper bound of the Hessian
        (XGBoost up to 3.2); "friedman": K/(K-1) (LightGBM); "residual": ``sample_weight * abs(p - t)`` instead.
    eps : float
        The least Hessian, whatever the weight; 0 for none.
    out : tuple of two ndarrays, optional
        Where gradient and Hessian go: raw's shape, any order, a dtype they can be cast to (``same_kind``). The
        first may be `raw`.

    Returns
    -------
    grad, hess : ndarray
        Of raw's shape, dtype and memory order; each within 4 ULP.

    Raises
    ------
    IndexError
        A class index outside [0, K): the first such row and its index are named, nothing is written.
    TypeError
        A dtype that is not supported; bool class indices; masked arrays; `out` not a pair, or cannot take the
        results.
    ValueError
        Shapes that do not match; `hessian` unknown, or "friedman" with one class; `eps` negative or not finite; the
        two of `out` sharing memory.

    Notes
    -----
    1 - p is the sum of the other probabilities, so that the Hessian is right where p is next to 1;
    docs/derivation.md. Friedman, J. H. (2001), "Greedy function approximation: a gradient boosting machine",
    The Annals of Statistics 29.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> grad, hess = csoftmax.softmax_grad_hess(np.zeros((2, 2)), np.array([0, 1]))
    >>> grad
    array([[-0.5,  0.5],
           [ 0.5, -0.5]])
    >>> hess
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    return compute_hessian(raw, y, sample_weight, hessian, eps, out)


cdef compute_loss(object logits, object target, object axis, object weight, object sample_weight, object ignore_index,
                  object label_smoothing, object focal_gamma, object z_loss, object softcap, object temperature,
                  object where, object reduction, object normalizer, bint return_grad, object out):
    cdef frame f
    cdef csm_call *c = &f.call
    cdef ndarray x, t, w, s, mask, y = None, r = None
    cdef object kept, result
    cdef double loss = 0
    if out is not None and not return_grad:
        raise ValueError("out receives the gradient: it needs return_grad=True")
    x = array_of(logits, "logits")
    open_call(&f, CSM_CROSS_ENTROPY, x, axis, False)
    t = take_temperature(&f, temperature)
    mask = take_where(&f, where)
    take_reduction(c, reduction, normalizer)
    take_number(&c.label_smoothing, label_smoothing, "label_smoothing")
    take_number(&c.z_loss, z_loss, "z_loss")
    take_number(&c.focal_gamma, focal_gamma, "focal_gamma")
    take_softcap(c, softcap)
    w = take_class_weight(&f, weight)
    s = take_sample_weight(&f, sample_weight)
    kept = take_target(&f, target, ignore_index, "target", "logits")
    if c.g.data:
        c.op = CSM_SOFT_CROSS_ENTROPY
    check_classes(&f, "logits")
    if return_grad:
        y = place_like(&f, &c.y, out, floating_type(x), x, None, t, s, mask, kept if c.g.data else None, "out")
    r = place_losses(&f, &loss)
    go(&f, "target" if not c.slots else "target[0]")
    result = scalar_like(x, loss) if r is None else r if f.rows else r[()]
    return (result, finish(y, out)) if return_grad else result


cdef compute_hessian(object raw, object labels, object sample_weight, object hessian, object eps, object out):
    cdef frame f
    cdef csm_call *c = &f.call
    cdef ndarray x = array_of(raw, "raw"), grad, hess, s
    cdef object kept, one = None, other = None
    cdef int kind = floating_type(x)
    if cnp.PyArray_NDIM(x) != 2:
        _coerce.refuse_raw(x)
    open_call(&f, CSM_GRAD_HESS, x, 1, False)
    take_hessian_options(&f, hessian, eps)
    s = take_sample_weight(&f, sample_weight)
    kept = take_target(&f, _coerce.plain(labels, "y") if isinstance(labels, tuple) else labels, None, "y", "raw")
    check_classes(&f, "raw")
    if out is not None:
        one, other = out if type(out) is tuple and len(<tuple>out) == 2 else _coerce.two_outs(out)
    grad = place_like(&f, &c.y, one, kind, x, None, s, kept if c.g.data else None, None, None, "out[0]")
    hess = place_like(&f, &c.h, other, kind, x, None, s, kept if c.g.data else None, x, None, "out[1]")
    if out is not None and not (grad is one and hess is other and apart(grad, hess)):
        _coerce.check_apart(one, other)
    go(&f, "y")
    return finish(grad, one), finish(hess, other)


def per_row(tuple shape, target, ignore_index, temperature, sample_weight, where):
    """For _linear: what comes with the rows of logits of a shape, checked as cross_entropy does.

    Returns labels, with -1 for those to ignore, or None; their probabilities, or those of all classes, or None; then
    temperature, sample weights and mask, in arrays that broadcast.
    """
    cdef frame f
    cdef csm_call *c = &f.call
    cdef ndarray x = np.ndarray(shape, np.float32, bytes(4), 0, [0] * len(shape)), labels = None
    cdef object temperatures, weights, mask, kept, prob = None
    open_call(&f, CSM_CROSS_ENTROPY, x, -1, False)
    temperatures = take_temperature(&f, temperature)
    mask = take_where(&f, where)
    weights = take_sample_weight(&f, sample_weight)
    kept = take_target(&f, target, ignore_index, "target", "logits")
    check_classes(&f, "logits")
    if c.g.data:
        check(&f, NULL, "target")
        prob = kept
    else:
        labels = np.empty(rows_shape(&f) + ((c.slots,) if c.slots else ()), np.intp)
        check(&f, <Py_ssize_t *>cnp.PyArray_DATA(labels), "target[0]" if c.slots else "target")
        prob = kept[1] if c.slots else None
    return labels, prob, c.temperature if temperatures is None else temperatures, weights, mask


cdef int check_classes(frame *f, name) except -1:
    """Refuse rows without classes: no target is one of them."""
    cdef int i
    if f.shape[f.rows] == 0:
        _coerce.check_classes(x_shape(f), rows_shape(f), name)
    return 0


cdef int take_reduction(csm_call *c, object reduction, object normalizer) except -1:
    """Set how losses are reduced, and what a mean divides by."""
    cdef int how = reduction_of(reduction) if isinstance(reduction, str) else -1
    if how < 0:
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    c.reduction = <csm_reduction>how
    if normalizer is not None:
        c.has_normalizer = True
        take_number(&c.normalizer, normalizer, "normalizer")
        if how != CSM_MEAN:
            raise ValueError(f"normalizer divides the mean: it has no meaning with reduction={reduction!r}")
    return 0


cdef inline int take_softcap(csm_call *c, object softcap) except -1:
    if softcap is not None:
        c.has_softcap = True
        take_number(&c.softcap, softcap, "softcap")
    return 0


cdef inline ndarray place_losses(frame *f, double *loss):
    """Have the losses reduced to `loss`, or written to a new array of one per row, which is returned."""
    cdef ndarray r
    if f.call.reduction != CSM_NONE:
        f.call.loss = loss
        return None
    r = cnp.PyArray_SimpleNew(f.rows, <cnp.npy_intp *>f.shape, real_type(f))
    put_rows(f, &f.call.r, r)
    return r


cdef ndarray take_class_weight(frame *f, object weight):
    """Set the weights of the classes, and return them, to be kept for the call."""
    cdef ndarray w
    if weight is None:
        return None
    w = doubles(weight, "weight", cnp.NPY_ARRAY_C_CONTIGUOUS)
    if cnp.PyArray_NDIM(w) != 1 or cnp.PyArray_DIM(w, 0) != f.shape[f.rows]:
        _coerce.refuse_class_weight(w, x_shape(f), f.shape[f.rows])
    put(f, &f.call.weight, w, 1, &f.rows, 0)
    return w


cdef int take_hessian_options(frame *f, object hessian, object eps) except -1:
    cdef int rule = hessian_of(hessian) if isinstance(hessian, str) else -1
    cdef csm_call *c = &f.call
    if rule < 0 or rule == CSM_FRIEDMAN and f.shape[1] == 1:
        _coerce.refuse_hessian(hessian)
    c.hessian = <csm_hessian>rule
    return take_number(&c.hessian_floor, eps, "eps")


cdef int hessian_of(rule) except -2:
    """The code of a rule for the Hessian, -1 where there is none of that name."""
    if rule == "diagonal":
        return CSM_DIAGONAL
    if rule == "upper":
        return CSM_UPPER
    if rule == "friedman":
        return CSM_FRIEDMAN
    return CSM_RESIDUAL if rule == "residual" else -1


cdef int reduction_of(reduction) except -2:
    """The code of a reduction, -1 where there is none of that name."""
    if reduction == "mean":
        return CSM_MEAN
    if reduction == "sum":
        return CSM_SUM
    return CSM_NONE if reduction == "none" else -1


cdef object float32 = np.float32, float64 = np.float64


cdef scalar_like(ndarray x, double value):
    """A scalar of x's dtype; a float32 or float64 where that is no native one of these."""
    cdef float narrow
    cdef int code = code_of(x)
    if code > CSM_F64 or not cnp.PyArray_ISNOTSWAPPED(x):
        return float32(value) if code == CSM_F16 or code == CSM_BF16 or code == CSM_F32 else float64(value)
    if code == CSM_F64:
        return cnp.PyArray_ToScalar(<void *>&value, x)
    narrow = <float>value                               # where it may underflow, only if it is asked for
    return cnp.PyArray_ToScalar(<void *>&narrow, x)


def kl_divergence(
    p_logits,
    q_logits,
    axis=-1,
    *,
    temperature=1.0,
    where=None,
    sample_weight=None,
    reduction="mean",
    normalizer=None,
    return_grad=False,
    out=None,
):
    """Compute the Kullback-Leibler divergence of two softmaxes, ``sum(p * (log(p) - log(q)))``, from their logits.

    ``p = softmax(p_logits/T)`` is what ``q = softmax(q_logits/T)`` is compared with: the teacher and the student of a
    distillation. The gradient with respect to `q_logits` is ``(q - p)/T``, times `sample_weight`.

    Parameters
    ----------
    p_logits, q_logits : array_like
        Logits of equal shapes, classes along `axis`; "rows" are the shape without it. Both are cast to their common
        dtype: float16, bfloat16 (of ml_dtypes), float32 or float64; integers and bool are computed as float64.
    axis : int
        The class axis.
    temperature : float or array_like
        T > 0, of both; an array broadcasts to the rows.
    where : array_like of bool, optional
        The classes that take part in p and q, broadcast to the logits. What stands elsewhere is never used; a row
        without any has the divergence 0.
    sample_weight : array_like, optional
        Of each row, broadcast to the rows; of any sign. A row of weight 0 is never read.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of rows. "none" gives the divergence of every row.
    normalizer : float, optional
        What "mean" divides by instead; not 0, unless there are no rows.
    return_grad : bool
        Return the gradient of the reduced loss (of the sum, for "none") with respect to `q_logits` as well.
    out : ndarray, optional
        Where the gradient goes: the shape of the logits; may be one of them.

    Returns
    -------
    loss : scalar or ndarray
        In nats, at least 0, of the dtype of the logits, float32 for 16-bit ones; shaped like the rows if `reduction` is
        "none". Infinite where a q is 0 and its p is not; a p of 0 contributes 0.
    grad : ndarray
        If `return_grad`: shape, dtype and memory order of the logits.

    Raises
    ------
    TypeError
        A dtype that is not supported; masked arrays; `where` not bool; `out` cannot take the gradient.
    ValueError
        Shapes that do not match; an option outside its range; `normalizer` without "mean"; `out` without `return_grad`.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    With ``d = (p_logits - q_logits)/T`` and ``t = sum(p * d) - d`` it is ``log1p(sum(p * (exp(t) - 1 - t)))``, a sum of
    terms that are not negative: right to 4 ULP where p and q are near, where a difference of two entropies has no digit
    left; elsewhere to 4 ULP of ``sum(p * abs(log(p) - log(q)))``. See docs/derivation.md. Kullback, S., Leibler, R. A.
    (1951), "On information and sufficiency", The Annals of Mathematical Statistics 22.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> x = np.array([[2.0, 1.0, 0.0]])
    >>> loss, grad = csoftmax.kl_divergence(x, np.zeros((1, 3)), return_grad=True)
    >>> loss.round(4), grad.round(4)
    (np.float64(0.2662), array([[-0.3319,  0.0886,  0.2433]]))
    """
    return compute_divergence(p_logits, q_logits, axis, temperature, where, sample_weight, reduction, normalizer,
                              return_grad, out)


cdef compute_divergence(object p_logits, object q_logits, object axis, object temperature, object where,
                        object sample_weight, object reduction, object normalizer, bint return_grad, object out):
    cdef frame f
    cdef csm_call *c = &f.call
    cdef ndarray x, g, t, mask, s, y = None, r = None
    cdef object result
    cdef double loss = 0
    cdef int kind
    if out is not None and not return_grad:
        raise ValueError("out receives the gradient: it needs return_grad=True")
    x, g = array_of(p_logits, "p_logits"), array_of(q_logits, "q_logits")
    open_call(&f, CSM_KL, x, axis, False)
    kind = take_second(&f, x, g, "p_logits", "q_logits")
    t = take_temperature(&f, temperature)
    mask = take_where(&f, where)
    take_reduction(c, reduction, normalizer)
    s = take_sample_weight(&f, sample_weight)
    if return_grad:
        y = place_like(&f, &c.y, out, kind, x, g, t, s, mask, None, "out")
    r = place_losses(&f, &loss)
    go(&f, None)
    result = (float64(loss) if c.dtype == CSM_F64 else float32(loss)) if r is None else r if f.rows else r[()]
    return (result, finish(y, out)) if return_grad else result
