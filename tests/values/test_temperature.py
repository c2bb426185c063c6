"""One temperature and one per row, in every form: each row is as with its temperature alone."""

import numpy as np
import pytest
from maps import MAPS, by_definition, every_axis, logits, mask, poisoned, rows_of, same
from maps import every_dtype as every_floating_dtype
from surface import LOSSES, PRODUCTS, SCALED, arguments, every_dtype

import csoftmax


@pytest.mark.parametrize("order", ["C", "F"])
@every_floating_dtype
@every_axis
@pytest.mark.parametrize("name", [*MAPS, "softmax_entropy"])
def test_temperature_per_row(csm, name, axis, dtype, order):
    x = np.asarray(logits(3, 5, 4, dtype=dtype), order=order)
    rows = rows_of(x, axis)[1]
    t = np.random.default_rng(2).uniform(0.3, 3, rows)
    result = getattr(csm, name)(x, axis, temperature=t)
    assert result.dtype == dtype
    expected = by_definition(name, x, True, axis, t)
    same(rows_of(result, axis)[0] if name in MAPS else result, expected, dtype)
    where = mask(3, 5, 4)
    result = getattr(csm, name)(poisoned(x, where), axis, temperature=t, where=where)
    same(rows_of(result, axis)[0] if name in MAPS else result, by_definition(name, x, where, axis, t), dtype)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 4), (3, 4)], ids=str)
def test_temperature_broadcasts_to_the_rows(csm, shape):
    x, g = logits(3, 5, 4), logits(3, 5, 4, seed=3)
    t = np.random.default_rng(4).uniform(0.5, 2, shape)
    full = np.broadcast_to(t, (3, 4))
    p = csm.softmax(x, 1)
    calls = [(name, (x,)) for name in (*MAPS, "softmax_entropy")]
    calls += [(name, (p, g)) for name in ("softmax_vjp", "softmax_jvp", "log_softmax_vjp", "log_softmax_jvp")]
    calls += [("softmax_jacobian", (p,)), ("selective_log_softmax", (x, np.ones((3, 4), int)))]
    for name, arrays in calls:
        result = getattr(csm, name)(*arrays, axis=1, temperature=t)
        for row in np.ndindex(3, 4):
            alone = getattr(csm, name)(*(a[row[0], ..., row[1]] for a in arrays), temperature=full[row])
            mapped = name in MAPS or (len(arrays) == 2 and name != "selective_log_softmax")
            same(result[row[0], :, row[1]] if mapped else result[row], alone)


@pytest.mark.parametrize("name", SCALED)
@every_dtype
def test_temperatures_of_rows(name, dtype):
    """Each row is as the same call with its temperature alone."""
    given = arguments(name, dtype)
    del given["out"]
    if name in LOSSES:
        given |= {"reduction": "none"}
    if name in PRODUCTS:
        given["p"] = csoftmax.softmax(given["p"])
    values = np.array([0.5, 1.0, 3.0])
    forms = (values, values.astype("f4"), values.astype(">f4"), values.tolist(), np.repeat(values, 2)[::2])
    for t in (*forms, np.array([1, 2, 4], np.int32), np.array([2], ">i2")):
        together = getattr(csoftmax, name)(**given, temperature=t)
        for row in range(3):
            one = {k: v[row] if isinstance(v, np.ndarray) and len(v) == 3 else v for k, v in given.items()}
            alone = getattr(csoftmax, name)(**one, temperature=float(np.broadcast_to(t, 3)[row]))
            parts = zip(together, alone, strict=True) if name in LOSSES else [(together, alone)]
            for result, expected in parts:
                eps = np.finfo(dtype).eps
                np.testing.assert_allclose(result[row], expected, rtol=4 * eps, atol=4 * eps)  # terms are below 2


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("two", [2, np.float64(2), np.float32(2), np.int8(2), np.array(2)], ids=repr)
def test_kinds_of_a_temperature(name, two):
    given = arguments(name, "f4")
    del given["out"]
    found, expected = (getattr(csoftmax, name)(**given, temperature=t) for t in (two, 2.0))
    parts = zip(found, expected, strict=True) if name in LOSSES else [(found, expected)]
    for a, b in parts:
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b, strict=True)
