# Thin doors. `thin_*` decorate a public function: a call of plain arrays and numbers goes to the core from here,
# any other to the function as it is written. A `plain_*` gives None where the call is not plain.

cdef object float32 = np.float32, float64 = np.float64


cdef inline bint is_plain(object x) noexcept:
    """An ndarray of a floating dtype that the core knows, not a subclass, with at least one axis."""
    return cnp.PyArray_CheckExact(x) and cnp.PyArray_NDIM(<ndarray>x) > 0 and 0 <= code_of(<ndarray>x) <= CSM_BF16


cdef inline csm_dtype compute_of(ndarray x) noexcept:
    """The dtype that the core computes in for a plain array."""
    return CSM_F64 if code_of(x) == CSM_F64 else CSM_F32


cdef inline int axis_of(object axis, int ndim) noexcept:
    """A valid int axis as a non-negative number, else -1."""
    cdef long long k
    cdef int overflow
    if type(axis) is not int:
        return -1
    k = PyLong_AsLongLongAndOverflow(axis, &overflow)
    return -1 if overflow else <int>(k + ndim if -ndim <= k < 0 else k if 0 <= k < ndim else -1)


cdef inline bint is_number(object a, double *v) noexcept:
    """A float, float64 among them, or an int of at most 64 bits; its value goes to `v`."""
    cdef int overflow = 0
    if isinstance(a, float):
        v[0] = PyFloat_AS_DOUBLE(a)
        return True
    if type(a) is not int:
        return False
    v[0] = <double>PyLong_AsLongLongAndOverflow(a, &overflow)
    return not overflow


cdef inline double positive(object a) noexcept:
    """A positive finite number; 0 for anything else."""
    cdef double v
    return v if is_number(a, &v) and v > 0 and isfinite(v) else 0


cdef inline bint apart(ndarray x, ndarray y) noexcept:
    """Both are C-contiguous, and share no memory."""
    cdef char *a = cnp.PyArray_BYTES(x)
    cdef char *b = cnp.PyArray_BYTES(y)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(x) and cnp.PyArray_IS_C_CONTIGUOUS(y)):
        return False
    return a + cnp.PyArray_NBYTES(x) <= b or b + cnp.PyArray_NBYTES(y) <= a


cdef inline bint fits(object out, ndarray x) noexcept:
    """`out` is x itself, or laid out like it and not overlapping."""
    cdef ndarray y
    cdef int i
    if not cnp.PyArray_CheckExact(out):
        return False
    y = out
    if not cnp.PyArray_ISWRITEABLE(y) or code_of(y) != code_of(x) or cnp.PyArray_NDIM(y) != cnp.PyArray_NDIM(x):
        return False
    for i in range(cnp.PyArray_NDIM(x)):
        if cnp.PyArray_DIM(y, i) != cnp.PyArray_DIM(x, i) or cnp.PyArray_STRIDE(y, i) != cnp.PyArray_STRIDE(x, i):
            return False
    if not cnp.PyArray_IS_C_CONTIGUOUS(y):
        return False
    return cnp.PyArray_DATA(x) == cnp.PyArray_DATA(y) or apart(x, y)


cdef ndarray like(ndarray x):
    """A new native array of x's shape, dtype and memory order."""
    if cnp.PyArray_IS_C_CONTIGUOUS(x):
        return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
    return np.empty_like(x, dtype=x.dtype.newbyteorder("="))


cdef ndarray new_or_given(object out, ndarray x, int ndim, Py_ssize_t *shape):
    """A new C-ordered array of this shape and x's dtype; or `out` if that is one, apart from x, else None."""
    cdef ndarray y
    cdef int i
    if out is None:
        return cnp.PyArray_EMPTY(ndim, <cnp.npy_intp *>shape, cnp.PyArray_TYPE(x), 0)
    if not cnp.PyArray_CheckExact(out):
        return None
    y = out
    if cnp.PyArray_NDIM(y) != ndim or code_of(y) != code_of(x) or not cnp.PyArray_ISWRITEABLE(y) or not apart(x, y):
        return None
    for i in range(ndim):
        if cnp.PyArray_DIM(y, i) != shape[i]:
            return None
    return y


cdef ndarray doubles(object a, int ndim, const Py_ssize_t *shape, object apart_from):
    """A float16, float32 or float64 array of this shape as native float64 in C order; None for anything else, or where
    it shares memory with an array that is written, unless that is None."""
    cdef int i
    if not is_plain(a) or code_of(<ndarray>a) > CSM_F16 or cnp.PyArray_NDIM(<ndarray>a) != ndim:
        return None
    for i in range(ndim):
        if cnp.PyArray_DIM(<ndarray>a, i) != shape[i]:
            return None
    if apart_from is not None and not apart(<ndarray>a, <ndarray>apart_from):
        return None
    return cnp.PyArray_FROMANY(a, cnp.NPY_FLOAT64, ndim, ndim, cnp.NPY_ARRAY_CARRAY_RO | cnp.NPY_ARRAY_NOTSWAPPED)


cdef void start(frame *f, csm_op op, ndarray x, int axis) noexcept:
    """A call on a plain array, with one class axis."""
    cdef int i, k = 0
    open_frame(f, op, compute_of(x), cnp.PyArray_NDIM(x) - 1, 1)
    for i in range(cnp.PyArray_NDIM(x)):
        if i != axis:
            f.shape[k] = cnp.PyArray_DIM(x, i)
            k += 1
    f.shape[k] = cnp.PyArray_DIM(x, axis)
    put(f, &f.call.x, x, axis)


cdef plain_map(csm_op op, object x, object g, object axis, object temperature, object out):
    """y of an operation on x, and on g unless that is None."""
    cdef frame f
    cdef double t = positive(temperature)
    cdef int k
    cdef ndarray a, b = None, y
    if t == 0 or not is_plain(x):
        return None
    a = x
    k = axis_of(axis, cnp.PyArray_NDIM(a))
    if k < 0:
        return None
    if g is not None:
        if not is_plain(g):
            return None
        b = g
        if not cnp.PyArray_SAMESHAPE(a, b) or code_of(b) != code_of(a):
            return None
    if out is None:
        y = like(a)
    elif fits(out, a) and (b is None or out is g or fits(out, b)):
        y = out
    else:
        return None
    start(&f, op, a, k)
    f.call.temperature = t
    put(&f, &f.call.y, y, k)
    if b is not None:
        put(&f, &f.call.g, b, k)
    go(&f, cnp.PyArray_SIZE(a), None, None)
    return y


cdef plain_reduction(csm_op op, object a, object axis, object temperature, bint keepdims, object out):
    """A number per row, along one axis, or of all of an array in C order."""
    cdef frame f
    cdef double t = positive(temperature)
    cdef Py_ssize_t[CSM_MAX_NDIM] kept
    cdef ndarray x, r
    cdef int i, k
    cdef bint whole = axis is None
    if t == 0 or not is_plain(a):
        return None
    x = a
    if whole and cnp.PyArray_IS_C_CONTIGUOUS(x):
        x, axis = cnp.PyArray_Ravel(x, cnp.NPY_CORDER), 0
    k = axis_of(axis, cnp.PyArray_NDIM(x))
    if k < 0:
        return None
    start(&f, op, x, k)
    f.call.temperature = t
    if keepdims:
        for i in range(cnp.PyArray_NDIM(<ndarray>a)):
            kept[i] = 1 if whole or i == k else cnp.PyArray_DIM(x, i)
        r = new_or_given(out, x, cnp.PyArray_NDIM(<ndarray>a), kept)
    else:
        r = new_or_given(out, x, f.call.ndim, f.shape)
    if r is None:
        return None
    put(&f, &f.call.r, r, k if keepdims else -1)
    go(&f, cnp.PyArray_SIZE(x), None, None)
    return r if keepdims or f.call.ndim or out is not None else r[()]


cdef plain_jacobian(object p, object axis, object temperature, object out):
    """Along the last axis only."""
    cdef frame f
    cdef double t = positive(temperature)
    cdef ndarray x, y
    cdef int ndim
    if t == 0 or not is_plain(p):
        return None
    x = p
    ndim = cnp.PyArray_NDIM(x)
    if ndim == CSM_MAX_NDIM or axis_of(axis, ndim) != ndim - 1:
        return None
    start(&f, CSM_JACOBIAN, x, ndim - 1)
    spread_jacobian(&f)
    y = new_or_given(out, x, ndim + 1, f.shape)
    if y is None:
        return None
    f.call.temperature = t
    put(&f, &f.call.y, y, -1)
    go(&f, cnp.PyArray_SIZE(y), None, None)
    return y


cdef plain_loss(object logits, object target, object axis, object ignore_index, object label_smoothing,
                object z_loss, object softcap, object temperature, object reduction, object normalizer,
                bint return_grad, object out, object weight, object sample_weight):
    """The loss of targets and weights that match the logits exactly; (loss, gradient) if `return_grad`."""
    cdef frame f
    cdef csm_call *c = &f.call
    cdef int i, k, ndim, how = reduction_of(reduction) if type(reduction) is str else -1
    cdef ndarray x, t, y = None, r = None, w = None, s = None
    cdef double loss = 0
    cdef bint soft
    if how < 0 or not is_plain(logits) or not cnp.PyArray_CheckExact(target):
        return None
    if not (ignore_index is None or type(ignore_index) is int):
        return None
    x, t, ndim = logits, target, cnp.PyArray_NDIM(logits)
    k, soft = axis_of(axis, ndim), cnp.PyArray_NDIM(t) == ndim
    if k < 0 or cnp.PyArray_DIM(x, k) == 0:
        return None
    start(&f, CSM_SOFT_CROSS_ENTROPY if soft else CSM_CROSS_ENTROPY, x, k)
    c.temperature, c.softcap = positive(temperature), 0 if softcap is None else positive(softcap)
    if c.temperature == 0 or (softcap is not None and c.softcap == 0):
        return None
    if not is_number(label_smoothing, &c.label_smoothing) or not is_number(z_loss, &c.z_loss):
        return None
    if not 0 <= c.label_smoothing <= 1 or not isfinite(c.z_loss):
        return None
    if normalizer is not None:
        if how != CSM_MEAN or not is_number(normalizer, &c.normalizer):
            return None
        if not isfinite(c.normalizer) or c.normalizer == 0:
            return None

    if soft:
        if not is_plain(t) or not cnp.PyArray_SAMESHAPE(x, t) or not (ignore_index is None or ignore_index == -100):
            return None
        put(&f, &c.g, t, k)
    else:
        if code_of(t) < CSM_I8 or cnp.PyArray_NDIM(t) != ndim - 1:
            return None
        for i in range(ndim - 1):
            if cnp.PyArray_DIM(t, i) != f.shape[i]:
                return None
        put(&f, &c.target, t, -1)
        set_ignored(c, ignore_index)

    if return_grad and out is None:
        y = like(x)
    elif return_grad and fits(out, x) and (not soft or apart(out, t)):
        y = out
    elif return_grad or out is not None:
        return None
    if y is not None:
        put(&f, &c.y, y, k)
    if weight is not None:
        w = doubles(weight, 1, f.shape + c.ndim, out)
        if w is None:
            return None
        put(&f, &c.weight, w, -1)
    if sample_weight is not None:
        s = doubles(sample_weight, c.ndim, f.shape, out)
        if s is None:
            return None
        put(&f, &c.sample_weight, s, -1)
    c.reduction = <csm_reduction>how
    if how == CSM_NONE:
        r = cnp.PyArray_EMPTY(
            c.ndim, <cnp.npy_intp *>f.shape, cnp.NPY_FLOAT64 if c.dtype == CSM_F64 else cnp.NPY_FLOAT32, 0
        )
        put(&f, &c.r, r, -1)
    else:
        c.loss = &loss
    go(&f, cnp.PyArray_SIZE(x), t, "target")
    result = scalar_like(x, loss) if r is None else r if c.ndim else r[()]
    return (result, y) if return_grad else result


cdef plain_hessian(object raw, object y, object sample_weight, object hessian, object eps, object out):
    """(gradient, Hessian) of labels or probabilities, and weights, that match the scores exactly."""
    cdef frame f
    cdef csm_call *c = &f.call
    cdef ndarray x, t, grad, hess, s = None
    cdef int rule = hessian_of(hessian) if type(hessian) is str else -1
    if rule < 0 or not is_plain(raw) or not cnp.PyArray_CheckExact(y):
        return None
    x, t = raw, y
    if cnp.PyArray_NDIM(x) != 2 or cnp.PyArray_DIM(x, 1) < 2:
        return None
    start(&f, CSM_GRAD_HESS, x, 1)
    c.hessian = <csm_hessian>rule
    if not is_number(eps, &c.hessian_floor) or not 0 <= c.hessian_floor or not isfinite(c.hessian_floor):
        return None
    if cnp.PyArray_NDIM(t) == 2:
        if not is_plain(t) or not cnp.PyArray_SAMESHAPE(x, t):
            return None
        put(&f, &c.g, t, 1)
    elif code_of(t) < CSM_I8 or cnp.PyArray_NDIM(t) != 1 or cnp.PyArray_DIM(t, 0) != f.shape[0]:
        return None
    else:
        put(&f, &c.target, t, -1)
    if out is None:
        grad, hess = like(x), like(x)
    elif type(out) is not tuple or len(out) != 2 or not fits(out[0], x) or not fits(out[1], x):
        return None
    else:
        grad, hess = out
        if not (apart(grad, hess) and apart(hess, x) and apart(grad, t) and apart(hess, t)):
            return None
    put(&f, &c.y, grad, 1)
    put(&f, &c.h, hess, 1)
    if sample_weight is not None:
        s = doubles(sample_weight, 1, f.shape, None if out is None else grad)
        if s is None or (out is not None and not apart(s, hess)):
            return None
        put(&f, &c.sample_weight, s, -1)
    go(&f, cnp.PyArray_SIZE(x), t, "y")
    return grad, hess


cdef scalar_like(ndarray x, double value):
    """A scalar of x's dtype; a float32 where that is not a native float32 or float64."""
    cdef float narrow = <float>value
    cdef int code = code_of(x)
    if code > CSM_F64 or not cnp.PyArray_ISNOTSWAPPED(x):
        return float64(value) if code == CSM_F64 else float32(value)
    return cnp.PyArray_ToScalar(<void *>&value if code == CSM_F64 else <void *>&narrow, x)


# ---- the decorators; signatures as in the functions they decorate ----

def thin_softmax(function):
    @wraps(function)
    def softmax(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None):
        y = plain_map(CSM_SOFTMAX, x, None, axis, temperature, out) if where is None and dtype is None else None
        return function(x, axis, temperature=temperature, where=where, dtype=dtype, out=out) if y is None else y
    return softmax


def thin_log_softmax(function):
    @wraps(function)
    def log_softmax(x, axis=-1, *, temperature=1.0, where=None, dtype=None, out=None):
        y = plain_map(CSM_LOG_SOFTMAX, x, None, axis, temperature, out) if where is None and dtype is None else None
        return function(x, axis, temperature=temperature, where=where, dtype=dtype, out=out) if y is None else y
    return log_softmax


def thin_logsumexp(function):
    @wraps(function)
    def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False, *, where=None, dtype=None, out=None):
        r = None
        if b is None and type(keepdims) is bool and return_sign is False and where is None and dtype is None:
            r = plain_reduction(CSM_LOGSUMEXP, a, axis, 1.0, keepdims, out)
        if r is None:
            return function(a, axis, b, keepdims, return_sign, where=where, dtype=dtype, out=out)
        return r
    return logsumexp


def thin_softmax_entropy(function):
    @wraps(function)
    def softmax_entropy(x, axis=-1, *, temperature=1.0, where=None, keepdims=False, dtype=None, out=None):
        r = None
        if where is None and type(keepdims) is bool and dtype is None:
            r = plain_reduction(CSM_ENTROPY, x, axis, temperature, keepdims, out)
        if r is None:
            return function(x, axis, temperature=temperature, where=where, keepdims=keepdims, dtype=dtype, out=out)
        return r
    return softmax_entropy


def thin_softmax_jacobian(function):
    @wraps(function)
    def softmax_jacobian(p, axis=-1, *, temperature=1.0, out=None):
        y = plain_jacobian(p, axis, temperature, out)
        return function(p, axis, temperature=temperature, out=out) if y is None else y
    return softmax_jacobian


def thin_softmax_vjp(function):
    @wraps(function)
    def softmax_vjp(p, g, axis=-1, *, temperature=1.0, out=None):
        y = plain_map(CSM_VJP, p, g, axis, temperature, out) if g is not None else None
        return function(p, g, axis, temperature=temperature, out=out) if y is None else y
    return softmax_vjp


def thin_softmax_jvp(function):
    @wraps(function)
    def softmax_jvp(p, t, axis=-1, *, temperature=1.0, out=None):
        y = plain_map(CSM_VJP, p, t, axis, temperature, out) if t is not None else None
        return function(p, t, axis, temperature=temperature, out=out) if y is None else y
    return softmax_jvp


def thin_log_softmax_vjp(function):
    @wraps(function)
    def log_softmax_vjp(p, g, axis=-1, *, temperature=1.0, out=None):
        y = plain_map(CSM_LOG_VJP, p, g, axis, temperature, out) if g is not None else None
        return function(p, g, axis, temperature=temperature, out=out) if y is None else y
    return log_softmax_vjp


def thin_log_softmax_jvp(function):
    @wraps(function)
    def log_softmax_jvp(p, t, axis=-1, *, temperature=1.0, out=None):
        y = plain_map(CSM_LOG_JVP, p, t, axis, temperature, out) if t is not None else None
        return function(p, t, axis, temperature=temperature, out=out) if y is None else y
    return log_softmax_jvp


def thin_cross_entropy(function):
    @wraps(function)
    def cross_entropy(logits, target, axis=-1, *, weight=None, sample_weight=None, ignore_index=-100,
                      label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, reduction="mean",
                      normalizer=None, return_grad=False, out=None):
        result = plain_loss(logits, target, axis, ignore_index, label_smoothing, z_loss, softcap, temperature,
                            reduction, normalizer, return_grad, out, weight, sample_weight)
        if result is not None:
            return result
        return function(
            logits, target, axis, weight=weight, sample_weight=sample_weight, ignore_index=ignore_index,
            label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap, temperature=temperature,
            reduction=reduction, normalizer=normalizer, return_grad=return_grad, out=out,
        )
    return cross_entropy


def thin_softmax_grad_hess(function):
    @wraps(function)
    def softmax_grad_hess(raw, y, *, sample_weight=None, hessian="diagonal", eps=1e-16, out=None):
        pair = plain_hessian(raw, y, sample_weight, hessian, eps, out)
        if pair is None:
            return function(raw, y, sample_weight=sample_weight, hessian=hessian, eps=eps, out=out)
        return pair
    return softmax_grad_hess
