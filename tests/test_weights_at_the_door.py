"""Weights that are plain arrays go to the core at once, others by way of Python: results and refusals are the same."""

import numpy as np
import pytest

N, CLASSES = 21, 6


class Weighed:
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

FORMS = {
    "float16": lambda w: w.astype("f2"),
    "float32": lambda w: w.astype("f4"),
    "float64": lambda w: w,
    "swapped": lambda w: w.astype(w.dtype.newbyteorder()),
    "every other": lambda w: np.repeat(w, 2)[::2],
    "backwards": lambda w: w[::-1].copy()[::-1],
    "unaligned": lambda w: np.frombuffer(b"\0" + w.tobytes(), np.uint8)[1:].view("f8"),
    "read only": lambda w: np.frombuffer(w.tobytes()),
    "integers": lambda w: (4 * w).astype("i4"),
    "a list": lambda w: w.tolist(),
    "a subclass": lambda w: w.view(np.recarray),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_form(csm, name, form):
    call = Weighed(csm, name)
    values = 4 * call.values if form == "integers" else call.values
    expected = call(values.tolist())
    for a, b in zip(call(FORMS[form](call.values)), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["sample_weight", "grad_hess"])
def test_one_for_all_rows(csm, name):
    call = Weighed(csm, name)
    for one in (2.0, np.float32(2), np.array(2.0), np.array([2.0])):
        for a, b in zip(call(one), call(np.full(N, 2.0)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_other_shapes_are_refused(csm, name):
    call = Weighed(csm, name)
    for shape in ((call.length + 1,), (call.length - 1,), (call.length, 1, 1), (0,)):
        with pytest.raises(ValueError, match="weight has shape"):
            call(np.ones(shape))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["c8", "S3", "M8[s]"])
def test_other_dtypes_are_refused(csm, name, dtype):
    call = Weighed(csm, name)
    with pytest.raises(TypeError, match="weight has dtype"):
        call(np.zeros(call.length, dtype))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_out_over_the_weights(csm, name, dtype):
    call = Weighed(csm, name, dtype)
    memory = np.zeros((2, N, CLASSES), dtype)
    weight = memory.reshape(-1)[3 : 3 + call.length]
    for place, other in (memory, memory[::-1]):
        weight[:] = call.values
        results = call(weight, out=(place, other) if name == "grad_hess" else place)
        for a, b in zip(results, call(call.values), strict=True):
            np.testing.assert_array_equal(a, b)
