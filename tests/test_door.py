"""An argument in every form that it may have: results and refusals are the same."""

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


LAYOUTS = {
    "C": lambda x: x,
    "Fortran": np.asfortranarray,
    "backwards": lambda x: x[:, ::-1],
    "every other": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "swapped": lambda x: x.astype(x.dtype.newbyteorder()),
}


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, -3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("name", ["logsumexp", "softmax_entropy"])
def test_reductions(csm, name, dtype, layout, axis, keepdims):
    x = LAYOUTS[layout](np.random.default_rng(3).standard_normal((4, 5, 3)).astype(dtype))
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


@pytest.mark.parametrize("name", ["logsumexp", "softmax_entropy"])
def test_out_of_a_reduction_has_its_shape(csm, name):
    x, f = np.zeros((4, 5)), getattr(csm, name)
    for keepdims, shape in ((True, (4,)), (False, (4, 1)), (True, (1, 5)), (False, (5,))):
        with pytest.raises(ValueError, match="out has shape"):
            f(x, axis=1, keepdims=keepdims, out=np.empty(shape))


@pytest.mark.parametrize("temperature", [0.5, 2, np.float64(3)])
def test_entropy_of_a_temperature(csm, temperature):
    x = np.random.default_rng(4).standard_normal((6, 7))
    plain = csm.softmax_entropy(x, temperature=temperature)
    for same in (np.array(temperature), np.float32(temperature)):
        np.testing.assert_array_equal(csm.softmax_entropy(x, temperature=same), plain)
    for each in ([temperature] * 6, np.full(6, temperature), np.array([temperature])):
        np.testing.assert_allclose(csm.softmax_entropy(x, temperature=each), plain, rtol=1e-14)
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="temperature must be positive"):
            csm.softmax_entropy(x, temperature=bad)


@pytest.mark.parametrize("normalizer", [4, 2.5, -3, np.float64(7)])
def test_normalizer(csm, normalizer):
    x, t = np.random.default_rng(4).standard_normal((6, 7)), np.arange(6)
    plain = csm.cross_entropy(x, t, normalizer=normalizer, return_grad=True)
    other = csm.cross_entropy(x, t, normalizer=np.array(normalizer), return_grad=True)
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("normalizer", [0, np.nan, np.inf])
def test_normalizer_is_refused(csm, normalizer):
    with pytest.raises(ValueError, match="normalizer must be finite and not 0"):
        csm.cross_entropy(np.zeros((2, 3)), np.array([0, 1]), normalizer=normalizer)
    with pytest.raises(ValueError, match="normalizer divides the mean"):
        csm.cross_entropy(np.zeros((2, 3)), np.array([0, 1]), normalizer=2, reduction="sum")
