# Where a result is computed: in a new array, in `out`, or in one that is copied to `out`.

cdef inline bint apart(ndarray x, ndarray y) noexcept:
    """Both are C-contiguous, and share no memory; or y is None."""
    cdef char *a
    cdef char *b
    if y is None:
        return True
    if not (cnp.PyArray_IS_C_CONTIGUOUS(x) and cnp.PyArray_IS_C_CONTIGUOUS(y)):
        return False
    a, b = cnp.PyArray_BYTES(x), cnp.PyArray_BYTES(y)
    return a + cnp.PyArray_NBYTES(x) <= b or b + cnp.PyArray_NBYTES(y) <= a


cdef inline bint same_memory(ndarray x, ndarray y) noexcept:
    """Both are C-contiguous, and lie in the same memory."""
    return (
        cnp.PyArray_DATA(x) == cnp.PyArray_DATA(y) and cnp.PyArray_IS_C_CONTIGUOUS(y)
        and cnp.PyArray_NBYTES(x) == cnp.PyArray_NBYTES(y)
    )


cdef inline bint is_writable(object out, int kind) noexcept:
    """Whether `out` is a C-contiguous array of a type that can be written."""
    return (
        cnp.PyArray_CheckExact(out) and cnp.PyArray_TYPE(<ndarray>out) == kind
        and cnp.PyArray_CHKFLAGS(<ndarray>out, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_WRITEABLE)
    )


cdef inline ndarray place_like(frame *f, csm_array *to, object out, int kind, ndarray x, ndarray g, ndarray a,
                               ndarray b, ndarray c, ndarray d, object name):
    """Point `to` at an array for a result of x's shape, and return it: `out` where that can be written as it stands.

    It may lie like x or g, and shares no memory with a, b, c and d. `finish` makes of it what the caller gets.
    """
    return new_like(f, to, x, kind) if out is None else given_like(f, to, out, kind, x, g, a, b, c, d, name)


cdef ndarray new_like(frame *f, csm_array *to, ndarray x, int kind):
    """Point `to` at a new native array of the shape and memory order of x, and return it."""
    cdef ndarray y
    if f.adjacent and kind == cnp.PyArray_TYPE(x):
        y = <ndarray>cnp.PyArray_SimpleNew(f.ndim, <cnp.npy_intp *>f.shape, kind)
    else:
        y = np.empty_like(x, dtype=cnp.PyArray_DescrFromType(kind))
    put_like(f, to, y, kind == cnp.PyArray_TYPE(x), "an array")
    return y


cdef ndarray given_like(frame *f, csm_array *to, object out, int kind, ndarray x, ndarray g, ndarray a, ndarray b,
                        ndarray c, ndarray d, object name):
    cdef ndarray y
    cdef bint simple = is_writable(out, kind) and same_shape(f, <ndarray>out)
    if (
        simple and (apart(<ndarray>out, x) or same_memory(<ndarray>out, x))
        and (g is None or apart(<ndarray>out, g) or same_memory(<ndarray>out, g))
        and apart(<ndarray>out, a) and apart(<ndarray>out, b) and apart(<ndarray>out, c) and apart(<ndarray>out, d)
    ):
        y = <ndarray>out
    else:
        dtype = cnp.PyArray_DescrFromType(kind)
        y = _coerce.target_for(out, x_shape(f), dtype, x, (x,) if g is None else (x, g), (a, b, c, d), name)
        simple = False
    put_like(f, to, y, simple and kind == cnp.PyArray_TYPE(x), name)
    return y


cdef inline int put_like(frame *f, csm_array *to, ndarray y, bint same, object name) except -1:
    """Point `to` at an array of x's shape, C-contiguous and of its dtype if it is the `same`."""
    if same and f.adjacent:                             # laid out like x
        to.data, to.dtype, to.stride = cnp.PyArray_DATA(y), f.call.x.dtype, f.call.x.stride
        to.swapped = not cnp.PyArray_ISNOTSWAPPED(y)
    elif not put_whole(f, to, y):
        changed(name)
    return 0


cdef inline ndarray place(object out, int kind, int ndim, const Py_ssize_t *shape, ndarray a, ndarray b, ndarray c,
                          ndarray d):
    """An array for a result of a shape, as place_like finds one; new, it is in C order."""
    if out is None:
        return <ndarray>cnp.PyArray_SimpleNew(ndim, <cnp.npy_intp *>shape, kind)
    return given(out, kind, ndim, shape, a, b, c, d)


cdef ndarray given(object out, int kind, int ndim, const Py_ssize_t *shape, ndarray a, ndarray b, ndarray c, ndarray d):
    cdef int i
    cdef bint fits = is_writable(out, kind) and cnp.PyArray_NDIM(<ndarray>out) == ndim
    for i in range(ndim if fits else 0):
        fits &= cnp.PyArray_DIM(<ndarray>out, i) == shape[i]
    fits = fits and apart(<ndarray>out, a) and apart(<ndarray>out, b)
    if fits and apart(<ndarray>out, c) and apart(<ndarray>out, d):
        return <ndarray>out
    dtype = cnp.PyArray_DescrFromType(kind)
    return _coerce.target_for(out, tuple([shape[i] for i in range(ndim)]), dtype, None, (), (a, b, c, d))


cdef inline object finish(ndarray result, object out):
    """What the caller gets: a new result, a scalar if it is 0-d; or `out`, with what was computed elsewhere."""
    if out is None:
        return result if cnp.PyArray_NDIM(result) else result[()]
    if cnp.PyArray_DATA(<ndarray>out) != cnp.PyArray_DATA(result):
        _coerce.copy(result, out)
    return out
