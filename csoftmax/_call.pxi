# A csm_call with room for shape and strides: arrays are put into it, and it is run.

ctypedef unsigned long long axis_set

# A call, with room for the shape and the strides that it points to.
ctypedef struct frame:
    csm_call call
    Py_ssize_t[CSM_MAX_NDIM + 1] shape                  # the rows first, then the classes
    Py_ssize_t[MOST_ARRAYS][CSM_MAX_NDIM + 1] stride
    int arrays                                          # that have strides by now
    int ndim, rows                                      # axes of x, and how many of them are of rows
    int[CSM_MAX_NDIM] place                             # where an axis of x stands in `shape`
    bint adjacent                                       # x is C-contiguous, its axes are in order
    int temperature_axes                                # of temperatures of rows, in the caller's array


cdef void open_frame(frame *f, csm_op op, csm_dtype dtype, int ndim, int nclass) noexcept nogil:
    """A call with `ndim` axes of rows, without arrays yet."""
    memset(&f.call, 0, sizeof(f.call))
    f.arrays = 0
    f.rows = ndim
    f.call.op, f.call.dtype = op, dtype
    f.call.ndim, f.call.nclass = ndim, nclass
    f.call.shape = f.shape
    f.call.temperature = 1


# ---- arrays ----

cdef int[CSM_MAX_NDIM + 1] in_order
for _i in range(CSM_MAX_NDIM + 1):
    in_order[_i] = _i


cdef bint put(frame *f, csm_array *to, ndarray a, int ndim, const int *place, int slots) noexcept:
    """Point `to` at an array that broadcasts to `ndim` axes of the call, `slots` more behind them; False if not.

    Its axis i is axis place[i] of the call. Shape and strides are read at one moment, for another thread may assign
    a.shape at any time: what fits here can do no harm later.
    """
    cdef const cnp.npy_intp *dims = cnp.PyArray_DIMS(a)
    cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(a)
    cdef Py_ssize_t *stride = f.stride[f.arrays]
    cdef int i, k, code = code_of(a), missing = ndim + slots - cnp.PyArray_NDIM(a)
    if missing < 0 or missing > ndim or code < 0:       # a thread may assign a.dtype too
        return False
    stride[0] = 0                                       # of a number: it is one class
    for i in range(missing):
        stride[place[i]] = 0
    for i in range(missing, ndim):
        k = place[i]
        if dims[i - missing] == f.shape[k]:
            stride[k] = strides[i - missing]
        elif dims[i - missing] == 1:
            stride[k] = 0
        else:
            return False
    if slots:
        stride[ndim] = strides[ndim - missing]
    f.arrays += 1
    to.data = cnp.PyArray_DATA(a)
    to.dtype = <csm_dtype>code
    to.swapped = not cnp.PyArray_ISNOTSWAPPED(a)
    to.stride = stride
    return True


cdef inline bint put_whole(frame *f, csm_array *to, ndarray a) noexcept:
    """Point `to` at an array that broadcasts to x."""
    return put(f, to, a, f.ndim, f.place, 0)


cdef inline bint put_rows(frame *f, csm_array *to, ndarray a) noexcept:
    """Point `to` at an array that broadcasts to the rows."""
    return put(f, to, a, f.rows, in_order, 0)


cdef inline bint put_slots(frame *f, csm_array *to, ndarray a) noexcept:
    """Point `to` at an array of a shape that broadcasts to rows + (k,), for any k."""
    return put(f, to, a, f.rows, in_order, 1)


cdef inline bint same_shape(frame *f, ndarray a) noexcept:
    """Whether an array has the shape of x."""
    cdef int i
    if cnp.PyArray_NDIM(a) != f.ndim:
        return False
    for i in range(f.ndim):
        if cnp.PyArray_DIM(a, i) != f.shape[f.place[i]]:
            return False
    return True


cdef tuple x_shape(frame *f):
    return tuple([f.shape[f.place[i]] for i in range(f.ndim)])


cdef tuple rows_shape(frame *f):
    return tuple([f.shape[i] for i in range(f.rows)])


cdef int changed(name) except -1:
    """Another thread assigned to the shape of an argument after it was looked at."""
    raise ValueError(f"{name} was given another shape during the call")


# ---- the run ----

cdef int poll() noexcept with gil:
    return PyErr_CheckSignals()


cdef inline bint is_long(const csm_call *c) noexcept:
    """Whether the call takes so long that the GIL is released: by its numbers and those of its labels."""
    cdef Py_ssize_t numbers = 1                         # no more than is to be known: no product overflows
    cdef int i
    for i in range(c.ndim, c.ndim + c.nclass):
        numbers = min(numbers * min(c.shape[i], GIL_ELEMENTS), GIL_ELEMENTS)
    numbers += min(c.slots, GIL_ELEMENTS)
    for i in range(c.ndim):
        numbers = min(numbers * min(c.shape[i], GIL_ELEMENTS), GIL_ELEMENTS)
    return numbers >= GIL_ELEMENTS


cdef inline int go(frame *f, object name) except -1:
    """Run the call; raise what its status says. `name` is the argument that labels came in."""
    cdef csm_status status
    f.call.poll = poll
    if is_long(&f.call):
        with nogil:
            status = csm_run(&f.call)
    else:
        status = csm_run(&f.call)
    return 0 if status == CSM_OK else fail(f, status, name)


cdef int check(frame *f, Py_ssize_t *label, object name) except -1:
    """Raise what a run of the call would raise; the labels go to `label`, unless that is NULL."""
    cdef csm_status status = csm_check(&f.call, label)
    return 0 if status == CSM_OK else fail(f, status, name)


cdef int fail(frame *f, csm_status status, object name) except -1:
    cdef csm_call *c = &f.call
    if status == CSM_INTERRUPTED:
        return -1
    if status == CSM_NO_MEMORY:
        raise MemoryError("no memory for scratch space")
    if status == CSM_BAD_OPTION:
        rows = tuple([c.shape[i] for i in range(c.ndim)])
        axes = slice(f.rows - f.temperature_axes, f.rows)
        raise _coerce.option_error(c.bad_option.decode(), c.range.decode(), c.bad_value, c.bad_row, rows, axes)
    shape = rows_shape(f) + ((c.slots,) if c.slots else ())
    is_float = c.target.dtype <= CSM_F64
    classes = c.shape[c.ndim]
    if c.offset != NULL:
        classes = c.offset[c.bad_row + 1] - c.offset[c.bad_row]
    raise _coerce.label_error(name, shape, c.bad_row, c.bad_label, is_float, status == CSM_FRACTION, classes)
