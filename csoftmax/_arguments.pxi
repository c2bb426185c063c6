# Takes the arguments of a function into its csm_call, one by one. One that is simple, an ndarray or a number, is taken
# as it stands. Any other goes through its function of _coerce, which makes it simple or says what is wrong with it.

# ---- arrays ----

cdef inline ndarray array_of(object x, object name):
    """An ndarray that the core reads: x itself if it is one, else what _coerce makes of it."""
    if cnp.PyArray_CheckExact(x) and code_of(<ndarray>x) >= 0:
        return <ndarray>x
    return array_from(x, name)


cdef ndarray array_from(object x, object name):
    cdef ndarray a
    if is_list(x):
        a = cnp.PyArray_FROM_O(x)
        if code_of(a) >= 0:
            return a
    return _coerce.as_array(x, name)


cdef inline bint is_list(object x) noexcept:
    """A list or a number of Python, which carries no mask and no dtype."""
    return type(x) is list or type(x) is float or type(x) is int


cdef inline int floating_type(ndarray x) noexcept:
    """The type number of results from x: float64 for integers and bool."""
    return cnp.PyArray_TYPE(x) if code_of(x) <= CSM_BF16 else cnp.NPY_FLOAT64


# ---- the first array, its axes and its dtype ----

cdef inline int axis_of(object axis, int ndim) noexcept:
    """A valid int axis as a non-negative number, else -1."""
    cdef long long k
    cdef int overflow
    if type(axis) is not int:
        return -1
    k = PyLong_AsLongLongAndOverflow(axis, &overflow)
    return -1 if overflow else <int>(k + ndim if -ndim <= k < 0 else k if 0 <= k < ndim else -1)


cdef int open_call(frame *f, csm_op op, ndarray x, object axis, bint several) except -1:
    """Begin a call on x, with one class axis or, if there may be `several`, with those of a tuple or all."""
    cdef int i, ndim = cnp.PyArray_NDIM(x), nclass = 1
    cdef axis_set classes = 0
    i = axis_of(axis, ndim)
    if i >= 0:
        classes = <axis_set>1 << i
    elif axis is None and several and ndim:
        classes, nclass = (<axis_set>2 << (ndim - 1)) - 1, ndim
    else:
        axes = _coerce.axes_of(axis, ndim) if several else _coerce.one_axis(axis, ndim)
        nclass = len(axes) if ndim else 1
        for i in axes:
            classes |= <axis_set>1 << i
        if cnp.PyArray_NDIM(x) != ndim or code_of(x) < 0:
            changed("the array")
    lay_out(f, op, x, classes, nclass)
    return 0


cdef inline void lay_out(frame *f, csm_op op, ndarray x, axis_set classes, int nclass) noexcept:
    """Set shape and strides of x, both read at one moment, with the class axes behind those of the rows."""
    cdef const cnp.npy_intp *dims = cnp.PyArray_DIMS(x)
    cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(x)
    cdef int code = code_of(x), ndim = cnp.PyArray_NDIM(x), i, k, row = 0, last = ndim - nclass if ndim else 0
    cdef Py_ssize_t *stride = f.stride[0]
    open_frame(f, op, CSM_F64 if code == CSM_F64 or code > CSM_BF16 else CSM_F32, last, nclass)
    f.ndim, f.arrays = ndim, 1
    f.adjacent = cnp.PyArray_IS_C_CONTIGUOUS(x) and (nclass == ndim or classes >> last == (<axis_set>1 << nclass) - 1)
    f.shape[0], stride[0] = 1, 0                        # of a number
    for i in range(ndim):
        if classes >> i & 1:
            k = last
            last += 1
        else:
            k = row
            row += 1
        f.place[i] = k
        f.shape[k] = dims[i]
        stride[k] = strides[i]
    f.call.x.data = cnp.PyArray_DATA(x)
    f.call.x.dtype = <csm_dtype>code
    f.call.x.swapped = not cnp.PyArray_ISNOTSWAPPED(x)
    f.call.x.stride = stride


cdef int take_second(frame *f, ndarray x, ndarray g, object x_name, object name) except -1:
    """Set the second array, which has x's shape; the type number of results, which is that of both."""
    cdef int kind = floating_type(x)
    if cnp.PyArray_TYPE(x) != cnp.PyArray_TYPE(g):
        common = _coerce.common_dtype(x, g, name, x_name)
        kind = (<cnp.dtype>common).num
        f.call.dtype = CSM_F64 if _coerce.is_wide(common) else CSM_F32
    if not same_shape(f, g) or not put_whole(f, &f.call.g, g):
        shapes = f"{x_name} has shape {x_shape(f)} and {name} has shape {(<object>g).shape}"
        raise ValueError(f"{shapes}: they must be equal")
    return kind


cdef inline int take_dtype(frame *f, object dtype, ndarray x) except -1:
    """The type number of the result for an argument `dtype`; sets what the core computes in."""
    return floating_type(x) if dtype is None else take_given_dtype(f, dtype, floating_type(x))


cdef inline int real_type(frame *f) noexcept:
    """The type number of what the core computes in."""
    return cnp.NPY_FLOAT64 if f.call.dtype == CSM_F64 else cnp.NPY_FLOAT32


cdef inline void flatten(frame *f, ndarray x) noexcept:
    """Make one class axis of all axes of an array in C order, after which nothing else can be put whole."""
    cdef int i
    if f.rows == 0 and f.adjacent:
        for i in range(1, f.ndim):
            f.shape[0] *= f.shape[i]
        f.stride[0][0] = cnp.PyArray_ITEMSIZE(x)
        f.call.nclass = 1


cdef int take_given_dtype(frame *f, object dtype, int kind) except -1:
    wide, result = _coerce.result_dtype(dtype, cnp.PyArray_DescrFromType(kind))
    f.call.dtype = CSM_F64 if wide else CSM_F32
    return (<cnp.dtype>result).num


# ---- numbers, temperatures, masks and weights ----

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


cdef inline int take_number(double *to, object a, object name) except -1:
    if type(a) is float:
        to[0] = PyFloat_AS_DOUBLE(a)
        return 0
    return take_other_number(to, a, name)


cdef int take_other_number(double *to, object a, object name) except -1:
    if not is_number(a, to):
        to[0] = _coerce.as_number(a, name)
    return 0


cdef ndarray doubles(object v, object name, int flags):
    """Real numbers as an array of native aligned float64 with more `flags`."""
    return cnp.PyArray_FROMANY(
        array_of(v, name), cnp.NPY_FLOAT64, 0, 0,
        flags | cnp.NPY_ARRAY_ALIGNED | cnp.NPY_ARRAY_NOTSWAPPED | cnp.NPY_ARRAY_FORCECAST
    )


cdef inline ndarray take_temperature(frame *f, object temperature):
    """Set the temperature. An array of them is returned, to be kept for the call."""
    if type(temperature) is float:
        f.call.temperature = PyFloat_AS_DOUBLE(temperature)
        return None
    return take_temperatures(f, temperature)


cdef ndarray take_temperatures(frame *f, object temperature):
    cdef ndarray t
    if isinstance(temperature, (float, int)):           # of any size
        take_other_number(&f.call.temperature, temperature, "temperature")
        return None
    t = doubles(temperature, "temperature", 0)
    f.temperature_axes = cnp.PyArray_NDIM(t)
    if f.temperature_axes == 0:
        f.call.temperature = (<const double *>cnp.PyArray_DATA(t))[0]
        return None
    if not put_rows(f, &f.call.temperatures, t):
        _coerce.over_rows(t, rows_shape(f), "temperature")
        changed("temperature")
    return t


cdef inline ndarray take_where(frame *f, object where):
    """Set the mask, and return it, to be kept for the call."""
    return None if where is None else take_mask(f, where)


cdef ndarray take_mask(frame *f, object where):
    cdef ndarray mask
    if cnp.PyArray_CheckExact(where) and code_of(<ndarray>where) == CSM_BOOL:
        mask = where
    else:
        mask = _coerce.as_mask(where)
    if not put_whole(f, &f.call.where, mask):
        shape = x_shape(f)
        _coerce.broadcast(mask, shape, "where", f"the array it masks has shape {shape}")
        changed("where")
    return mask


cdef inline ndarray take_sample_weight(frame *f, object weight):
    """Set the weights of the rows, and return them, to be kept for the call."""
    return None if weight is None else take_weights(f, weight)


cdef ndarray take_weights(frame *f, object weight):
    cdef ndarray w
    w = doubles(weight, "sample_weight", 0)
    if not put_rows(f, &f.call.sample_weight, w):
        _coerce.over_rows(w, rows_shape(f), "sample_weight")
        changed("sample_weight")
    return w


# ---- targets ----

cdef int set_ignored(csm_call *c, ignore_index) except -1:
    """Labels equal to an int are ignored; None: no label is."""
    cdef int overflow
    if ignore_index is not None:
        c.ignore_index = PyLong_AsLongLongAndOverflow(ignore_index, &overflow)
        c.ignores = not overflow
        if overflow > 0 and ignore_index < 2**64:     # no label is beyond
            c.ignores, c.ignore_index = 2, <long long>(ignore_index - 2**64)
    return 0


cdef inline ndarray labels_of(object a, object name):
    """Class indices: `a` itself if it is an ndarray of them that the core reads, else what _coerce makes of it."""
    if cnp.PyArray_CheckExact(a) and (code_of(<ndarray>a) >= CSM_I8 or 0 <= code_of(<ndarray>a) <= CSM_F64):
        return <ndarray>a
    return labels_from(a, name)


cdef ndarray labels_from(object a, object name):
    cdef ndarray labels
    if is_list(a):
        labels = cnp.PyArray_FROM_O(a)
        if code_of(labels) >= CSM_I8:
            return labels
    return _coerce.as_labels(a, name)


cdef object take_target(frame *f, object target, object ignore_index, object name, object x_name):
    """Set what the loss is of: labels of the rows, probabilities shaped like x, or a pair (index, prob).

    Returns what is to be kept for the call.
    """
    cdef ndarray a
    if ignore_index is not None and type(ignore_index) is not int:
        ignore_index = _coerce.as_index(ignore_index, "ignore_index")
    if isinstance(target, tuple):
        return take_pair(f, target, ignore_index)
    if cnp.PyArray_CheckExact(target):
        a = <ndarray>target
    else:
        a = cnp.PyArray_FROM_O(target) if is_list(target) else _coerce.plain(target, name)
    if cnp.PyArray_NDIM(a) == f.rows:
        set_ignored(&f.call, ignore_index)
        a = labels_of(a, name)
        if put_rows(f, &f.call.target, a):
            return a
    elif same_shape(f, a):
        if ignore_index is not None and ignore_index != -100:
            raise ValueError(f"ignore_index={ignore_index!r} has no meaning for target probabilities")
        a = array_of(a, name)
        if put_whole(f, &f.call.g, a):
            return a
    _coerce.refuse_target(a, name, x_shape(f), rows_shape(f), x_name)
    changed(name)


cdef tuple take_pair(frame *f, tuple pair, object ignore_index):
    """Set labels in slots, and the probability of each."""
    cdef ndarray index = None, prob = None
    if len(pair) == 2:
        index, prob = labels_of(pair[0], "target[0]"), doubles(pair[1], "target[1]", 0)
    if not put_pair(f, index, prob):
        index, prob, ignore_index = _coerce.as_pair(pair, x_shape(f), rows_shape(f), ignore_index)
        if not put_pair(f, index, prob):
            changed("target")
    set_ignored(&f.call, ignore_index)
    return index, prob


cdef bint put_pair(frame *f, ndarray index, ndarray prob) noexcept:
    """Point the call at a pair of equally many slots, at least one."""
    cdef int n = f.rows
    if index is None or cnp.PyArray_NDIM(index) != n + 1 or cnp.PyArray_NDIM(prob) != n + 1:
        return False
    f.call.slots = cnp.PyArray_DIM(index, n)
    if f.call.slots == 0 or cnp.PyArray_DIM(prob, n) != f.call.slots:
        return False
    return put_slots(f, &f.call.target, index) and put_slots(f, &f.call.prob, prob)
