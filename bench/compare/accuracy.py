"""How right csoftmax and its peers are in float32.

    python bench/compare/accuracy.py                   prints a Markdown table
    python bench/compare/accuracy.py --margins FILE    writes losses by margin as CSV, such as docs/accuracy/margins.csv

A peer that is not installed is left out.
"""

import argparse
import csv
import importlib
import os
from pathlib import Path

import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")

MARGINS = (17, 20, 40, 90)
OFFSETS = (1e4, 1e6)
SHAPES = ((256, 1000), (4, 2**17))
"""Rows and classes; 2**17 is about the vocabulary of a language model."""
KINDS = ("about 0", "about 1000", "from -60 to 0", "below -88 but for one")
"""The last makes results that are subnormal numbers."""


class Csoftmax:
    name = library = "csoftmax"

    def __init__(self):
        self.module = importlib.import_module(self.library)

    def softmax(self, x):
        return self.module.softmax(x)

    def loss_and_gradient(self, x, label):
        return self.module.cross_entropy(x, [label], return_grad=True)


class Formula:
    """What one writes by hand, in NumPy."""

    name, library = "NumPy formula", "numpy"

    def __init__(self):
        self.module = importlib.import_module(self.library)

    def softmax(self, x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def loss_and_gradient(self, x, label):
        m = x.max()
        gradient = self.softmax(x)
        gradient[0, label] -= 1
        return m + np.log(np.exp(x - m).sum()) - x[0, label], gradient


class SciPy(Formula):
    name, library = "SciPy", "scipy.special"

    def softmax(self, x):
        return self.module.softmax(x, axis=1)

    def loss_and_gradient(self, x, label):
        _, gradient = super().loss_and_gradient(x, label)
        return -self.module.log_softmax(x, axis=1)[0, label], gradient


class PyTorch:
    name, library = "PyTorch", "torch"

    def __init__(self):
        self.module = importlib.import_module(self.library)

    def softmax(self, x):
        return self.module.softmax(self.module.from_numpy(x), -1).numpy()

    def loss_and_gradient(self, x, label):
        logits = self.module.from_numpy(x).requires_grad_()
        loss = self.module.nn.functional.cross_entropy(logits, self.module.tensor([label]))
        loss.backward()
        return loss.item(), logits.grad.numpy()


class Jax:
    name, library = "JAX", "jax"

    def __init__(self):
        self.module = importlib.import_module(self.library)
        self.jit = self.module.jit(self.module.nn.softmax)
        self.both = self.module.jit(self.module.value_and_grad(self.loss))

    def loss(self, x, label):
        return -self.module.nn.log_softmax(x)[0, label]

    def softmax(self, x):
        return np.asarray(self.jit(x))

    def loss_and_gradient(self, x, label):
        loss, gradient = self.both(x, label)
        return float(loss), np.asarray(gradient)


class ScikitLearn:
    name, library = "scikit-learn", "sklearn"

    def __init__(self):
        self.module = importlib.import_module(self.library)
        self.losses = importlib.import_module("sklearn._loss")
        self.extmath = importlib.import_module("sklearn.utils.extmath")

    def softmax(self, x):
        return self.extmath.softmax(x)

    def loss_and_gradient(self, x, label):
        half = self.losses.HalfMultinomialLoss(n_classes=x.shape[1])
        loss, gradient = half.loss_gradient(np.array([label], x.dtype), x)
        return loss[0], gradient


def installed():
    for peer in (Csoftmax, Formula, SciPy, ScikitLearn, PyTorch, Jax):
        try:
            yield peer()
        except ImportError:
            continue


def logits(kind, shape):
    rng = np.random.default_rng(1)
    if kind == "about 0":
        x = rng.normal(0, 3, shape)
    elif kind == "about 1000":
        x = rng.normal(1000, 3, shape)
    elif kind == "from -60 to 0":
        x = rng.uniform(-60, 0, shape)
    else:
        x = rng.uniform(-100, -88, shape)
        x[:, 0] = 0
    return x.astype(np.float32)


def exact_softmax(x):
    """Right to 1e-15 or better: 1e-8 ULP of float32."""
    wide = x.astype(np.float64)
    e = np.exp(wide - wide.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def worst_ulp(p, exact):
    return np.max(np.abs(p - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64))


def softmax_rows(peers):
    for kind, shape in [(kind, shape) for kind in KINDS for shape in SHAPES]:
        x = logits(kind, shape)
        exact = exact_softmax(x)
        errors = [worst_ulp(peer.softmax(x.copy()), exact) for peer in peers]
        yield f"softmax, worst ULP: logits {kind}, {shape[1]} classes", "", [f"{e:.3g}" for e in errors]


def loss_rows(peers):
    """Three classes, the first is the target and leads the others, which are equal."""
    cases = [(margin, 0) for margin in MARGINS] + [(1, offset) for offset in OFFSETS]
    found = {}
    for margin, offset in cases:
        x = np.array([[offset + margin, offset, offset]], np.float32)
        found[margin, offset] = [peer.loss_and_gradient(x.copy(), 0) for peer in peers]
    for margin, offset in cases:
        exact = np.log1p(2 * np.exp(-margin))
        where = f"lead {margin}, offset {offset:g}" if offset else f"lead {margin}"
        yield f"loss: {where}", f"{exact:.5g}", [f"{loss:.5g}" for loss, _ in found[margin, offset]]
    for margin in MARGINS:
        exact = -2 / (np.exp(margin) + 2)
        values = [f"{gradient[0, 0]:.5g}" for _, gradient in found[margin, 0]]
        yield f"gradient at the target: lead {margin}", f"{exact:.5g}", values


def version(peer):
    return importlib.import_module(peer.library.partition(".")[0]).__version__


def margin_rows(peers):
    """By margin m: the loss of logits (m, 0, 0), and the worst error in ULP of the losses of 30 rows of ten classes."""
    others = np.random.default_rng(1).normal(size=(30, 9)).astype(np.float32)
    for margin in range(101):
        x = np.array([[margin, 0, 0]], np.float32)
        losses = [peer.loss_and_gradient(x.copy(), 0)[0] for peer in peers]
        yield "loss", margin, f"{np.log1p(2 * np.exp(-margin)):.5g}", *(f"{loss:.5g}" for loss in losses)
    for margin in range(101):
        targets = others.max(axis=1, keepdims=True) + np.float32(margin)
        exact = np.log1p(np.exp(others.astype(np.float64) - targets).sum(axis=1))
        rows = np.hstack([targets, others])[:, None]
        losses = [np.array([peer.loss_and_gradient(x.copy(), 0)[0] for x in rows]) for peer in peers]
        yield "error", margin, "", *(f"{worst_ulp(loss, exact):.3g}" for loss in losses)


def write_margins(peers, path):
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["what", "margin", "exact", *(f"{peer.name} {version(peer)}" for peer in peers)])
        out.writerows(margin_rows(peers))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--margins", type=Path, metavar="FILE")
    path = parser.parse_args().margins
    peers = list(installed())
    if path:
        write_margins(peers, path)
    else:
        print_table(peers)


def print_table(peers):
    names = [f"{peer.name} {version(peer)}" for peer in peers]
    print(f"| float32 | exact | {' | '.join(names)} |")
    print("|---|---|" + "---|" * len(peers))
    for what, exact, values in [*softmax_rows(peers), *loss_rows(peers)]:
        print(f"| {what} | {exact} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
