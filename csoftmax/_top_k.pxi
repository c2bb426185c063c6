# The largest log-probabilities of each row: the public function, and what computes them.


def top_k_log_softmax(x, k, axis=-1, *, temperature=1.0, where=None):
    """Compute the k largest log-probabilities of each row and their classes, without those of the others.

    Parameters
    ----------
    x : array_like
        Logits of any shape; "rows" are the shape without `axis`. dtypes as in `softmax`.
    k : int
        How many, from 1 to the number of classes.
    axis : int
        The class axis.
    temperature : float or array_like
        T > 0; an array broadcasts to the rows.
    where : array_like of bool, optional
        The classes that take part, broadcast to `x`. Where they are fewer than k, the last log-probabilities are -inf,
        of classes that do not take part or whose logit is -inf, the smallest first.

    Returns
    -------
    log_probs : ndarray
        Shape rows + (k,), k standing last whatever `axis` is, falling; the dtype of `x`, each within 4 ULP. NaN where
        `log_softmax` is, which is in all of a row.
    index : ndarray of numpy.intp
        Their classes, of the same shape. Of equal logits the smaller class comes first; NaN counts as -inf.

    Raises
    ------
    TypeError
        As `softmax`; `k` not an integer.
    ValueError
        As `softmax`; `k` not between 1 and the number of classes.
    numpy.exceptions.AxisError
        `axis` out of range.

    Notes
    -----
    A row is read once from memory, and is not sorted: a heap of k classes takes those that are larger than its least.
    See `selective_log_softmax` and docs/derivation.md.

    Examples
    --------
    >>> import numpy as np, csoftmax
    >>> log_probs, index = csoftmax.top_k_log_softmax(np.array([[0.0, 2.0, 1.0, 2.0]]), 3)
    >>> log_probs.round(4), index
    (array([[-0.9176, -0.9176, -1.9176]]), array([[1, 3, 2]]))
    """
    return compute_top_k(x, k, axis, temperature, where)


cdef compute_top_k(object logits, object k, object axis, object temperature, object where):
    cdef frame f
    cdef Py_ssize_t[CSM_MAX_NDIM + 1] shape
    cdef ndarray x = array_of(logits, "x"), r, index, t, mask
    cdef int i
    k = _coerce.as_index(k, "k")
    open_call(&f, CSM_TOP_K, x, axis, False)
    if not 1 <= k <= f.shape[f.rows]:
        raise ValueError(f"k must be from 1 to the number of classes, {f.shape[f.rows]}, got {_coerce.shown(k)}")
    t = take_temperature(&f, temperature)
    mask = take_where(&f, where)
    for i in range(f.rows):
        shape[i] = f.shape[i]
    shape[f.rows] = f.call.slots = k
    index = cnp.PyArray_SimpleNew(f.rows + 1, <cnp.npy_intp *>shape, cnp.NPY_INTP)
    r = cnp.PyArray_SimpleNew(f.rows + 1, <cnp.npy_intp *>shape, floating_type(x))
    if not (put_slots(&f, &f.call.target, index) and put_slots(&f, &f.call.r, r)):
        changed("x")
    go(&f, None)
    return r, index
