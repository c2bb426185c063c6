"""How sure may a classifier be? A temperature is fitted to its logits, and a reliability plot shows what that changes.

    pip install csoftmax scikit-learn matplotlib
    python examples/calibration.py [PLOT.png]

A network is trained on 300 of scikit-learn's digits, with noise on the images, until it is surer than it is right. On
700 more the temperature is found whose loss is the smallest: the derivative by T follows from the gradient by the
logits, -sum(x * grad) / T, and its sign halves an interval. The rest of the digits shows whether the probabilities then
are what they say (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import csoftmax

TRAINED, FITTED, NOISE, BINS = 300, 700, 5.0, 10


def logits_and_labels():
    """Logits of the network for the digits that it has not seen, and their labels."""
    digits, rng = load_digits(), np.random.default_rng(0)
    order = rng.permutation(len(digits.target))
    images, labels = digits.data[order] + rng.normal(0, NOISE, digits.data.shape), digits.target[order]
    network = MLPClassifier((64,), solver="lbfgs", alpha=0.0, max_iter=1000, random_state=0)
    network.fit(images[:TRAINED] / 16, labels[:TRAINED])
    hidden = np.maximum(0, images[TRAINED:] / 16 @ network.coefs_[0] + network.intercepts_[0])
    return hidden @ network.coefs_[1] + network.intercepts_[1], labels[TRAINED:]


def slope(logits, labels, T):
    """The derivative of the loss by the temperature."""
    _, grad = csoftmax.cross_entropy(logits, labels, temperature=T, return_grad=True)
    return -np.sum(logits * grad) / T


def fit(logits, labels, low=0.05, high=50.0):
    """The temperature at which the derivative changes its sign; the loss has one minimum in 1/T."""
    while high / low > 1 + 1e-9:
        T = np.sqrt(low * high)
        low, high = (T, high) if slope(logits, labels, T) < 0 else (low, T)
    return T


def reliability(p, labels):
    """Of the predictions, by bins of their probability: (mean probability, share that is right, share of the rows)."""
    sure, right = p.max(axis=1), p.argmax(axis=1) == labels
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = [place == i for i in range(BINS) if (place == i).any()]
    return np.array([(sure[rows].mean(), right[rows].mean(), rows.mean()) for rows in bins]).T


def calibration_error(p, labels):
    """How far probabilities and shares are apart, in the mean over the rows (ECE)."""
    sure, right, share = reliability(p, labels)
    return np.sum(share * abs(sure - right))


def plot(logits, labels, fitted, best, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, *both) = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    T = np.geomspace(0.3, 20, 100)
    left.plot(T, [csoftmax.cross_entropy(*fitted, temperature=t) for t in T])
    left.axvline(best, color="black", linestyle=":", label=f"T = {best:.3f}")
    left.set(xscale="log", xlabel="temperature", ylabel="loss on the data it is fitted to")
    left.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    left.minorticks_off()
    left.legend()
    left.grid(alpha=0.3)
    for axes, t in zip(both, (1.0, best), strict=True):
        p = csoftmax.softmax(logits, temperature=t)
        sure, right, share = reliability(p, labels)
        axes.plot([0, 1], [0, 1], color="black", linestyle=":", label="as sure as right")
        axes.scatter(sure, right, s=20 + 600 * share, alpha=0.6, label="predictions, area by number")
        axes.vlines(sure, np.minimum(sure, right), np.maximum(sure, right), color="#c8412f", label="gap")
        axes.set(xlabel="probability of the prediction", ylabel="share that is right", xlim=(0, 1.05), ylim=(0, 1.05))
        axes.set_title(f"T = {t:.3g}: calibration error {calibration_error(p, labels):.3f}", fontsize=10)
        axes.grid(alpha=0.3)
    both[0].legend(loc="upper left", fontsize=8, markerscale=0.4)
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plot", nargs="?", help="where to save the plot")
    path = parser.parse_args().plot
    logits, labels = logits_and_labels()
    fitted, logits, labels = (logits[:FITTED], labels[:FITTED]), logits[FITTED:], labels[FITTED:]
    best = fit(*fitted)
    print(f"T = {best:.4f}, where the derivative of the loss is {slope(*fitted, best):.1e}")
    for t in (1.0, best):
        p = csoftmax.softmax(logits, temperature=t)
        loss = csoftmax.cross_entropy(logits, labels, temperature=t)
        print(
            f"T = {t:.3f}: loss {loss:.4f}, mean probability of the predictions {p.max(axis=1).mean():.3f}, "
            f"{(p.argmax(axis=1) == labels).mean():.3f} are right, calibration error {calibration_error(p, labels):.4f}"
        )
    if path:
        plot(logits, labels, fitted, best, path)


if __name__ == "__main__":
    main()
