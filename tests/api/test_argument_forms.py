"""An argument in every form that it may have: the results are the same."""

import numpy as np
import pytest
from layouts import LAYOUTS

N, CLASSES = 21, 6


class Weighted:
    """A loss with its gradient, or a gradient with its Hessian, of rows that get weights."""

    def __init__(self, csm, name, dtype="f4"):
        rng = np.random.default_rng(5)
        self.csm, self.name = csm, name
        self.x = rng.standard_normal((N, CLASSES)).astype(dtype)
        self.labels = rng.integers(0, CLASSES, N)
        self.length = CLASSES if name == "weight" else N
        # quarters: every dtype has them
        self.values = rng.integers(1, 9, self.length) / 4

    def __call__(self, weight, **options):
        if self.name == "grad_hess":
            return self.csm.softmax_grad_hess(self.x, self.labels, sample_weight=weight, **options)
        return self.csm.cross_entropy(
            self.x, self.labels, return_grad=True, reduction="sum", **{self.name: weight}, **options
        )


NAMES = ("weight", "sample_weight", "grad_hess")

FORMS = LAYOUTS | {
    "float16": lambda w: w.astype("f2"),
    "float32": lambda w: w.astype("f4"),
    "float64": lambda w: w,
    "read only": lambda w: np.frombuffer(w.tobytes()),
    "integers": lambda w: (4 * w).astype("i4"),
    "a list": lambda w: w.tolist(),
    "a subclass": lambda w: w.view(np.recarray),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_weights_in_every_form(csm, name, form):
    call = Weighted(csm, name)
    values = 4 * call.values if form == "integers" else call.values
    expected = call(values.tolist())
    for a, b in zip(call(FORMS[form](call.values)), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["sample_weight", "grad_hess"])
def test_one_weight_for_all_rows(csm, name):
    call = Weighted(csm, name)
    for one in (2.0, np.float32(2), np.array(2.0), np.array([2.0])):
        for a, b in zip(call(one), call(np.full(N, 2.0)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_out_over_the_weights(csm, name, dtype):
    call = Weighted(csm, name, dtype)
    memory = np.zeros((2, N, CLASSES), dtype)
    weight = memory.reshape(-1)[3 : 3 + call.length]
    for place, other in (memory, memory[::-1]):
        weight[:] = call.values
        results = call(weight, out=(place, other) if name == "grad_hess" else place)
        for a, b in zip(results, call(call.values), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, -3])
@pytest.mark.parametrize("layout", [np.copy, *LAYOUTS.values()], ids=["C order", *LAYOUTS])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("name", ["logsumexp", "softmax_entropy"])
def test_sums_along_any_axis_of_any_layout(csm, name, dtype, layout, axis, keepdims):
    x = layout(np.random.default_rng(3).standard_normal((4, 5, 3)).astype(dtype))
    f = getattr(csm, name)
    summed = np.sum(x, axis=axis, keepdims=keepdims)
    rows = x.reshape(1, -1) if axis is None else np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
    expected = [f(np.array(row, dtype)) for row in rows]
    found = f(x, axis=axis, keepdims=keepdims)
    assert type(found) is type(summed) and found.dtype == dtype and found.shape == summed.shape
    np.testing.assert_allclose(found, np.reshape(expected, summed.shape), rtol=4 * np.finfo(dtype).eps)
    out = np.empty(summed.shape, dtype)
    assert f(x, axis=axis, keepdims=np.bool_(keepdims), out=out) is out
    np.testing.assert_array_equal(out, found)
