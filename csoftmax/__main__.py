"""The tour, `python -m csoftmax`: what was built, a regression on real data, its gradient checked, a timing.

It needs NumPy alone. The exit status is 0 only if every check holds.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import csoftmax

STEPS = 3000
RATE = 0.5
BAR_WIDTH = 40
SHAPES = [(10000, 3), (10000, 10), (4096, 128), (1024, 1000)]


def load_iris():
    """Features, standardised, of shape (150, 4), and class indices of shape (150,)."""
    table = np.loadtxt(Path(__file__).parent / "data" / "iris.csv", dtype=str, delimiter=",", skiprows=1)
    features = table[:, :-1].astype(np.float64)
    _, labels = np.unique(table[:, -1], return_inverse=True)
    return (features - features.mean(axis=0)) / features.std(axis=0), labels


def loss_and_gradients(features, labels, weights, bias):
    """Mean cross-entropy of the scores X W^T + b, and its gradients by W and b."""
    loss, grad = csoftmax.cross_entropy(features @ weights.T + bias, labels, return_grad=True)
    return loss, grad.T @ features, grad.sum(axis=0)


def show_progress(step, loss):
    """A bar that redraws itself on a terminal; elsewhere a line every 500 steps."""
    state = f"step {step:4d} of {STEPS}   loss {loss:.5f}"
    if sys.stdout.isatty():
        if step % (STEPS // 100) == 0:
            bar = "#" * (BAR_WIDTH * step // STEPS)
            end = "\n" if step == STEPS else ""
            print(f"\r  [{bar:.<{BAR_WIDTH}}] {state}", end=end, flush=True)
    elif step % 500 == 0:
        print(f"  {state}")


def fit(features, labels):
    """Weights and bias after STEPS steps of gradient descent from zero."""
    classes = labels.max() + 1
    weights, bias = np.zeros((classes, features.shape[1])), np.zeros(classes)
    for step in range(1, STEPS + 1):
        loss, by_weights, by_bias = loss_and_gradients(features, labels, weights, bias)
        weights -= RATE * by_weights
        bias -= RATE * by_bias
        show_progress(step, loss)
    return weights, bias


def finite_difference_error(features, labels):
    """Largest difference between the gradient and central differences, over the largest of these."""
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(3, features.shape[1])), rng.normal(size=3)
    _, *gradients = loss_and_gradients(features, labels, weights, bias)
    step = np.cbrt(np.finfo(np.float64).eps)
    central = []
    for parameter in (weights, bias):
        for at in np.ndindex(parameter.shape):
            middle = parameter[at]
            parameter[at] = middle + step
            above, *_ = loss_and_gradients(features, labels, weights, bias)
            parameter[at] = middle - step
            below, *_ = loss_and_gradients(features, labels, weights, bias)
            parameter[at] = middle
            central.append((above - below) / (2 * step))
    exact = np.concatenate([gradient.ravel() for gradient in gradients])
    return np.abs(exact - central).max() / np.abs(central).max()


def numpy_softmax(x, out=None):
    e = np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    np.exp(e, out=e)
    e /= e.sum(axis=-1, keepdims=True)
    return e


def numpy_cross_entropy(x, labels, out=None):
    """Mean loss and gradient by the textbook: log S - x_t, and p - 1 at the target."""
    target = np.arange(len(x)), labels
    grad = np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    at_target = grad[target]
    np.exp(grad, out=grad)
    total = grad.sum(axis=-1, keepdims=True)
    grad /= total
    grad[target] -= 1
    grad /= len(x)
    return np.mean(np.log(total[:, 0]) - at_target), grad


def median_times(calls, seconds):
    """Median time of each call in seconds, the calls taking turns for `seconds` (and thrice at least)."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        ticks = [time.perf_counter()]
        for call in calls:
            call()
            ticks.append(time.perf_counter())
        times.append(np.diff(ticks))
    return np.median(times, axis=0)


def show_build():
    config = csoftmax.show_config(mode="dicts")
    print("What was built")
    print(f"  csoftmax {config['version']} with NumPy {config['numpy']}, compiled by {config['compiler']}")
    print(f"  instruction set  {config['isa']} (this CPU runs {', '.join(config['isas'])})")
    print(f"  threads          {config['threads']} ({config['threading']})")


def show_regression(features, labels):
    """Fit, print how well, and return the checks as {what must hold: whether it does}."""
    print("\nSoftmax regression on Fisher's iris: 150 flowers, 4 measures, 3 species")
    weights, bias = fit(features, labels)
    loss, *_ = loss_and_gradients(features, labels, weights, bias)
    probabilities = csoftmax.softmax(features @ weights.T + bias)
    accuracy = np.mean(probabilities.argmax(axis=1) == labels)
    print(f"  training loss {loss:.5f}, accuracy {accuracy:.4f} ({round(accuracy * 150)} of 150)")
    row_sums = probabilities.sum(axis=1)
    return {
        "the accuracy on iris is at least 0.97": accuracy >= 0.97,
        "the rows of softmax sum to 1": np.allclose(row_sums, 1, rtol=0, atol=1e-14),
    }


def show_gradients(features, labels):
    """Print how good the gradients are and return the checks as {what must hold: whether it does}."""
    print("\nGradients")
    error = finite_difference_error(features, labels)
    print(f"  against central finite differences (float64), worst relative error {error:.1e}")
    logits, target = np.array([[40, 0, 0]], dtype=np.float32), np.array([0])
    loss, grad = csoftmax.cross_entropy(logits, target, return_grad=True)
    plain_loss, plain_grad = numpy_cross_entropy(logits, target)
    print("  a target that leads by 40 (float32)   loss        gradient at the target")
    print(f"    csoftmax                            {loss:<10.4g}  {grad[0, 0]:.4g}")
    print(f"    plain NumPy                         {plain_loss:<10.4g}  {plain_grad[0, 0]:.4g}")
    return {
        "the gradient agrees with finite differences": error < 1e-8,
        "the target's gradient at margin 40 is not zero": grad[0, 0] < 0,
    }


def show_timing(seconds):
    """Print median times, results in reused memory, beside plain NumPy. No check: clocks are noisy."""
    print("\nTime per call, float32, one thread, median in microseconds (ratio: plain NumPy over csoftmax)")
    print("  shape           operation               csoftmax   plain NumPy   ratio")
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        logits = rng.normal(size=shape).astype(np.float32)
        labels = rng.integers(shape[1], size=shape[0])
        out = np.empty_like(logits)
        calls = {
            "softmax": (
                lambda x=logits, out=out: csoftmax.softmax(x, out=out),
                lambda x=logits, out=out: numpy_softmax(x, out=out),
            ),
            "cross_entropy + gradient": (
                lambda x=logits, y=labels, out=out: csoftmax.cross_entropy(x, y, return_grad=True, out=out),
                lambda x=logits, y=labels, out=out: numpy_cross_entropy(x, y, out=out),
            ),
        }
        for name, pair in calls.items():
            ours, plain = 1e6 * median_times(pair, seconds / (len(SHAPES) * len(calls)))
            print(f"  {shape!s:14}  {name:24}{ours:8.0f}{plain:14.0f}{plain / ours:8.1f}", flush=True)


def main(argv=None):
    """Run the tour; return 0 if every check holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m csoftmax", description="A tour of csoftmax.")
    parser.add_argument("--seconds", type=float, default=2.0, help="time to spend on the timing (default: 2)")
    options = parser.parse_args(argv)

    show_build()
    features, labels = load_iris()
    checks = show_regression(features, labels) | show_gradients(features, labels)
    threads = csoftmax.get_num_threads()
    csoftmax.set_num_threads(1)
    show_timing(options.seconds)
    csoftmax.set_num_threads(threads)

    print("\nChecks")
    for what, holds in checks.items():
        print(f"  {'ok    ' if holds else 'FAILED'}  {what}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
