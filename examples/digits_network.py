"""A network of two layers in NumPy learns scikit-learn's digits; csoftmax has the derivatives of its last layer.

    pip install csoftmax scikit-learn rich matplotlib
    python examples/digits_network.py [PLOT.png]

1797 images of 8 by 8 pixels. The last layer, the loss and the gradients of both are one call of `linear_cross_entropy`;
the hidden layer and its gradients are a few lines of NumPy. Before training the gradients are held against differences.
"""

import argparse

import numpy as np
from rich.progress import Progress
from sklearn.datasets import load_digits

import csoftmax

HIDDEN, EPOCHS, BATCH, RATE, MOMENTUM, TRAINED = 64, 40, 64, 0.3, 0.9, 1300


def load(rng):
    """(images, labels) to train on and to test with, in float32 and shuffled."""
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images, labels = digits.data[order].astype(np.float32) / 16, digits.target[order]
    return (images[:TRAINED], labels[:TRAINED]), (images[TRAINED:], labels[TRAINED:])


def initial(rng):
    """[weights of the hidden layer, its bias, weights of the last layer (a row per class), its bias]."""
    shapes = (HIDDEN, 64), (HIDDEN,), (10, HIDDEN), (10,)
    return [rng.normal(0, len(s) > 1 and np.sqrt(2 / s[-1]), s).astype(np.float32) for s in shapes]


def forward(parameters, images):
    w1, b1, _, _ = parameters
    return np.maximum(0, images @ w1.T + b1)


def gradients(parameters, images, labels):
    """The loss, and its gradient by each of the parameters."""
    _, _, w2, b2 = parameters
    hidden = forward(parameters, images)
    loss, (dhidden, dw2, db2) = csoftmax.linear_cross_entropy(hidden, w2, labels, b2, return_grad=True)
    dhidden *= hidden > 0
    return loss, [dhidden.T @ images, dhidden.sum(axis=0), dw2, db2]


def logits(parameters, images):
    return forward(parameters, images) @ parameters[2].T + parameters[3]


def train(parameters, data, test, rng):
    """Changes the parameters; the loss on both sets after each epoch."""
    images, labels = data
    velocities, history = [np.zeros_like(p) for p in parameters], []
    with Progress() as progress:
        bar = progress.add_task("training", total=EPOCHS)
        for epoch in range(EPOCHS):
            rate = RATE * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2
            for rows in np.split(rng.permutation(len(labels)), range(BATCH, len(labels), BATCH)):
                _, slopes = gradients(parameters, images[rows], labels[rows])
                for parameter, velocity, slope in zip(parameters, velocities, slopes, strict=True):
                    velocity *= MOMENTUM
                    velocity -= (1 - MOMENTUM) * rate * slope
                    parameter += velocity
            history.append([csoftmax.cross_entropy(logits(parameters, x), y) for x, y in (data, test)])
            progress.update(bar, advance=1, description=f"loss {history[-1][0]:.4f}")
    return np.array(history)


def difference(parameters, images, labels):
    """The largest error of the gradient, against central differences, over ten entries of each parameter."""
    wide = [p.astype(np.float64) for p in parameters]
    _, slopes = gradients(wide, images.astype(np.float64), labels)
    errors = []
    for parameter, slope in zip(wide, slopes, strict=True):
        for place in np.linspace(0, parameter.size - 1, 10).astype(int):
            kept, losses = parameter.flat[place], []
            for step in (1e-6, -1e-6):
                parameter.flat[place] = kept + step
                losses.append(gradients(wide, images.astype(np.float64), labels)[0])
            parameter.flat[place] = kept
            errors.append(abs((losses[0] - losses[1]) / 2e-6 - slope.flat[place]))
    return max(errors)


def plot(history, parameters, test, path):
    """The losses, and the test images whose label has the smallest probability."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    images, labels = test
    found = logits(parameters, images)
    worst = np.argsort(csoftmax.selective_log_softmax(found, labels))[:6]
    p = csoftmax.softmax(found[worst])
    figure = plt.figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(5, 4))
    axes = left.subplots()
    for values, name in zip(history.T, ("training", "test"), strict=True):
        axes.plot(range(1, EPOCHS + 1), values, label=name)
    axes.set(xlabel="epoch", ylabel="cross-entropy, nats", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3)
    right.suptitle("largest losses on the test set", fontsize=10)
    for axes, image, label, row in zip(right.subplots(2, 3).flat, images[worst], labels[worst], p, strict=True):
        axes.imshow(image.reshape(8, 8), cmap="gray_r")
        axes.set_title(f"label {label}: p = {row[label]:.2g}\nfound {row.argmax()}: p = {row.max():.2g}", fontsize=8)
        axes.axis("off")
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plot", nargs="?", help="where to save the plot")
    path = parser.parse_args().plot
    rng = np.random.default_rng(0)
    data, test = load(rng)
    parameters = initial(rng)
    print(f"gradient against differences: off by at most {difference(parameters, data[0][:50], data[1][:50]):.1e}")
    history = train(parameters, data, test, rng)
    right = (logits(parameters, test[0]).argmax(axis=1) == test[1]).mean()
    print(f"loss {history[-1, 0]:.4f}, on the test set {history[-1, 1]:.4f}; {100 * right:.1f} % of that are right")
    if path:
        plot(history, parameters, test, path)


if __name__ == "__main__":
    main()
