"""Gradient and Hessian: rules by name, outputs, and what every bad argument gets."""

import numpy as np
import pytest
from surface import array, read_only

import csoftmax


def test_hessians_by_name():
    raw, y = array("f8") * 5, np.array([0, 3, 1])
    p, t = csoftmax.softmax(raw), np.eye(4)[y]
    exact = p * (1 - p)
    expected = {"diagonal": exact, "upper": 2 * exact, "friedman": 4 / 3 * exact, "residual": abs(p - t)}
    for hessian, h in expected.items():
        for target in (y, t, y.astype("u1"), y.astype("f8")):
            grad, hess = csoftmax.softmax_grad_hess(raw, target, hessian=hessian)
            np.testing.assert_allclose(grad, p - t, rtol=1e-12)
            np.testing.assert_allclose(hess, h, rtol=1e-12)
        weight = np.array([2.0, 0.0, 0.5])
        grad, hess = csoftmax.softmax_grad_hess(raw, y, sample_weight=weight, hessian=hessian, eps=0.01)
        np.testing.assert_allclose(grad, (p - t) * weight[:, None], rtol=1e-12)
        np.testing.assert_allclose(hess, np.maximum(h * weight[:, None], 0.01), rtol=1e-12)
    assert (csoftmax.softmax_grad_hess(raw, y, sample_weight=weight, eps=0)[1][1] == 0).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_outputs_of_gradient_and_hessian(order):
    raw, y = np.array(array("f8"), order=order), np.array([0, 3, 1])
    expected = csoftmax.softmax_grad_hess(raw, y)
    for result in expected:
        assert result.dtype == np.float64 and result.flags[f"{order}_CONTIGUOUS"]
    for out_order in ("C", "F"):
        out = np.empty((3, 4), "f4", out_order), np.empty((3, 4), "f4", out_order)
        result = csoftmax.softmax_grad_hess(raw, y, out=out)
        for got, given, exact in zip(result, out, expected, strict=True):
            assert got is given
            np.testing.assert_array_equal(got, exact.astype("f4"))
    for place in (0, 1):
        x = raw.copy(order)
        out = [np.empty((3, 4)), np.empty((3, 4))]
        out[place] = x
        csoftmax.softmax_grad_hess(x, y, out=tuple(out))
        np.testing.assert_array_equal(out, expected)


BAD_GRAD_HESS = [
    ({"raw": np.ones(4)}, ValueError, "raw"),
    ({"raw": np.ones((3, 4, 1))}, ValueError, "raw"),
    ({"raw": np.ones((3, 4), complex)}, TypeError, "raw"),
    ({"raw": np.ones((3, 0))}, IndexError, "no classes"),
    ({"y": np.zeros(4, int)}, ValueError, "y has shape"),
    ({"y": np.zeros((3, 5))}, ValueError, "y has shape"),
    ({"y": np.array([0, 4, 1])}, IndexError, r"y\[1\] = 4"),
    ({"y": np.array([0, 0.5, 1])}, ValueError, r"y\[1\] = 0.5"),
    ({"y": np.array([True, False, True])}, TypeError, r"\by\b"),
    ({"hessian": "exact"}, ValueError, "hessian"),
    ({"hessian": None}, ValueError, "hessian"),
    ({"raw": np.ones((3, 1)), "y": np.zeros(3, int), "hessian": "friedman"}, ValueError, "friedman"),
    ({"eps": -1.0}, ValueError, "eps"),
    ({"eps": np.nan}, ValueError, "eps"),
    ({"eps": "0"}, TypeError, "eps"),
    ({"sample_weight": np.ones(4)}, ValueError, "sample_weight"),
    ({"out": np.zeros((3, 4))}, TypeError, "out"),
    ({"out": (np.zeros((3, 4)),)}, TypeError, "out"),
    ({"out": (np.zeros((3, 4)), np.zeros((4, 3)))}, ValueError, r"out\[1\]"),
    ({"out": (np.zeros((3, 4), int), np.zeros((3, 4)))}, TypeError, r"out\[0\]"),
    ({"out": (np.zeros((3, 4)), read_only(np.zeros((3, 4))))}, ValueError, r"out\[1\]"),
    ({"out": (np.zeros((3, 4)),) * 2}, ValueError, "memory"),
]


@pytest.mark.parametrize(("changes", "error", "word"), BAD_GRAD_HESS)
def test_bad_arguments_of_gradient_and_hessian(changes, error, word):
    given = {"raw": array("f8"), "y": np.array([0, 3, 1]), "out": (np.zeros((3, 4)), np.zeros((3, 4)))}
    if "raw" in changes:
        given["out"] = None
    given |= changes
    with pytest.raises(error, match=word):
        csoftmax.softmax_grad_hess(**given)
    if given["out"] is not None:
        assert not any(map(np.any, given["out"]))
