"""`where=` of the maps and sums: which classes take part."""

import numpy as np
import pytest
from maps import (
    EMPTY,
    FILL,
    MAPS,
    SENTINEL,
    by_definition,
    every_axis,
    every_dtype,
    every_function,
    every_map,
    logits,
    mask,
    poisoned,
    rows_of,
    same,
)
from surface import array

import csoftmax


@pytest.mark.parametrize("order", ["C", "F"])
@every_dtype
@every_axis
@every_function
def test_maps_under_a_mask(csm, name, axis, dtype, order):
    x, where = logits(3, 5, 4, dtype=dtype), mask(3, 5, 4)
    where[0, 0], where[:, 1], where[:, :, 2] = False, False, False
    expected = by_definition(name, x, where, axis)
    x = np.asarray(poisoned(x, where), order=order)
    given = x.tobytes()
    result = getattr(csm, name)(x, axis=axis, where=where)
    assert result.dtype == dtype
    assert x.tobytes() == given
    same(rows_of(result, axis)[0] if name in MAPS else result, expected, dtype)


@every_function
@pytest.mark.parametrize("shape", [(), (4,), (1,), (5, 1), (5, 4), (3, 1, 1), (3, 1, 4), (1, 5, 1), (3, 5, 4)], ids=str)
def test_where_broadcasts(csm, name, shape):
    x = logits(3, 5, 4)
    for where in (mask(*shape), np.ones(shape, bool), np.zeros(shape, bool)):
        full = np.broadcast_to(where, x.shape).copy()
        for axis in (0, 1, -1):
            result = getattr(csm, name)(x, axis=axis, where=where)
            np.testing.assert_array_equal(result, getattr(csm, name)(x, axis=axis, where=full))
            same(rows_of(result, axis)[0] if name in MAPS else result, by_definition(name, x, full, axis))


@every_function
def test_where_of_python_bools(csm, name):
    x = logits(2, 3)
    function = getattr(csm, name)
    where = np.array([[True, False, True]])
    np.testing.assert_array_equal(function(x, axis=1, where=[True, False, True]), function(x, axis=1, where=where))
    np.testing.assert_array_equal(function(x, axis=1, where=True), function(x, axis=1))
    np.testing.assert_array_equal(function(x, axis=1, where=False), function(x, axis=1, where=np.zeros((2, 3), bool)))
    np.testing.assert_array_equal(function(x, axis=1, where=None), function(x, axis=1))


@every_dtype
@every_function
def test_everything_takes_part(csm, name, dtype):
    """A mask that leaves nothing out changes no special value either."""
    x = np.array([[1, 2, 3], [np.nan, 1, 2], [np.inf, 1, 2], [-np.inf] * 3, [-np.inf, 0, 1]], dtype)
    for axis in (0, 1):
        plain = getattr(csm, name)(x, axis=axis).astype(np.float64)
        masked = getattr(csm, name)(x, axis=axis, where=np.ones((5, 3), bool)).astype(np.float64)
        np.testing.assert_array_equal(masked, plain)


@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf, 1e30, -1e30])
@every_axis
@every_function
def test_nothing_leaks_from_under_a_mask(csm, name, axis, hidden):
    """What stands under the mask has no influence, to the last bit; rows with nothing else are neutral."""
    x, where = logits(3, 5, 4, dtype=np.float32), mask(3, 5, 4)
    where[1] = False
    function = getattr(csm, name)
    expected = function(np.where(where, x, np.float32(0)), axis=axis, where=where)
    np.testing.assert_array_equal(function(np.where(where, x, np.float32(hidden)), axis=axis, where=where), expected)


@every_dtype
@every_function
def test_nothing_takes_part(csm, name, dtype):
    for x in (logits(4, 6, dtype=dtype), np.full((4, 6), np.nan, dtype), np.full((4, 6), np.inf, dtype)):
        for axis in (0, 1, None):
            result = getattr(csm, name)(x, axis=axis, where=np.zeros((4, 6), bool))
            assert result.dtype == dtype
            np.testing.assert_array_equal(np.asarray(result, np.float64), FILL.get(name, EMPTY.get(name)))


@every_function
def test_rows_that_are_minus_infinity_where_they_take_part(csm, name):
    """They are what they are without a mask: only a row where nothing takes part is neutral."""
    x, where = np.array([[-np.inf, -np.inf, 1.0]]), np.array([True, True, False])
    result = getattr(csm, name)(x, axis=-1, where=where)
    if name in MAPS:
        np.testing.assert_array_equal(result, [[np.nan, np.nan, FILL[name]]])
    else:
        np.testing.assert_array_equal(result, getattr(csm, name)(x[:, :2], axis=-1))


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33, 100, 1000])
@every_dtype
@every_function
def test_where_is_the_compressed_row(csm, name, dtype, n):
    x, where = logits(6, n, dtype=dtype), mask(6, n)
    result = getattr(csm, name)(poisoned(x, where), axis=1, where=where)
    for row, v, w in zip(result, x, where, strict=True):
        if w.any():
            same(row[w] if name in MAPS else row, getattr(csm, name)(v[w], axis=-1), dtype)
        if name in MAPS:
            np.testing.assert_array_equal(row[~w].astype(np.float64), FILL[name])


@every_axis
@every_map
def test_where_into_out(csm, name, axis):
    function = getattr(csm, name)
    for dtype in ("float32", "float64", "float16"):
        x, where = poisoned(logits(3, 5, 4, dtype=dtype), mask(3, 5, 4)), mask(3, 5, 4)
        expected = function(x, axis, where=where)
        for order in "CF":
            out = np.full((3, 5, 4), SENTINEL, dtype, order=order)
            assert function(x, axis, where=where, out=out) is out
            same(out, expected, dtype)
        gapped = np.full((3, 10, 8), SENTINEL, dtype)
        function(x, axis, where=where, out=gapped[:, ::2, ::2])
        same(gapped[:, ::2, ::2], expected, dtype)
        np.testing.assert_array_equal(gapped[:, 1::2], SENTINEL)
        for in_place in (x.copy(), np.asfortranarray(x), np.repeat(x, 2, axis=2)[:, :, ::2], x[::-1, :, ::-1].copy()):
            given = in_place.copy()
            assert function(in_place, axis, where=where, out=in_place) is in_place
            same(in_place, function(given, axis, where=where), dtype)


@every_function
def test_layouts_of_where(csm, name):
    x, where = logits(6, 8), mask(6, 8)
    expected = getattr(csm, name)(x, axis=-1, where=where)
    gapped = np.zeros((12, 16), bool)
    gapped[::2, ::-2] = where
    frozen = where.copy()
    frozen.setflags(write=False)
    for given in (np.asfortranarray(where), gapped[::2, ::-2], where[::-1].copy()[::-1], frozen):
        np.testing.assert_array_equal(getattr(csm, name)(x, axis=-1, where=given), expected)
    for given in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f8"), x[::-1].copy()[::-1]):
        same(getattr(csm, name)(given, axis=-1, where=where), expected)


@every_map
def test_mask_in_the_memory_of_the_result(csm, name):
    """`out` over the mask itself: the mask is read before it is lost."""
    x, buffer = logits(4, 8), np.zeros((4, 8))
    where = buffer.view(bool)[:, ::8]
    where[...] = mask(4, 8)
    expected = getattr(csm, name)(x, where=where.copy())
    getattr(csm, name)(x, where=where, out=buffer)
    np.testing.assert_array_equal(buffer, expected)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@every_function
def test_rows_of_one_class_of_none_and_of_all(name, dtype):
    """One class of the first row takes part, none of the second, all of the third."""
    function, x = getattr(csoftmax, name), np.full((3, 4), np.nan, dtype)
    of_one = {"softmax": 1.0, "log_softmax": 0.0, "logsumexp": 1.5, "softmax_entropy": 0.0}[name]
    of_none = (FILL | EMPTY)[name]
    takes_part = np.zeros((3, 4), bool)
    takes_part[0, 2] = takes_part[2] = True
    x[0, 2], x[2] = 1.5, array(dtype, 4)
    result = function(x, -1, where=takes_part)
    rows = result if result.ndim == 1 else result[:, 2]
    assert rows.dtype == dtype
    assert rows[0] == of_one and rows[1] == of_none
    np.testing.assert_array_equal(result[2], function(x[2], -1))
    if result.ndim == 2:
        np.testing.assert_array_equal(result[0, [0, 1, 3]], of_none)
        np.testing.assert_array_equal(result[1], of_none)
