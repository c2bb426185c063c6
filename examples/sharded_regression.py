"""A softmax regression whose classes are sharded over two worker processes, with csoftmax.dask.

    python examples/sharded_regression.py loss.png [--steps 30]

The weights never come together: each worker keeps those of its classes, makes the logits of these, and sends three
numbers per row and shard. Needs dask[array,distributed], rich and matplotlib.
"""

import argparse
from pathlib import Path

import dask
import dask.array as da
import matplotlib
import numpy as np
from distributed import Client, LocalCluster
from rich.progress import Progress

import csoftmax.dask

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROWS, FEATURES, CLASSES, SHARDS = 6000, 24, 400, 2
RATE, MOMENTUM = 60.0, 0.9


def data():
    """Rows around a center for each class, the last feature being 1."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLASSES, FEATURES))
    labels = rng.integers(0, CLASSES, ROWS)
    x = centers[labels] + 0.4 * rng.normal(size=(ROWS, FEATURES))
    x[:, -1] = 1
    return x, labels


def train(x, labels, steps):
    """(the loss of each step, the weights as a dask array whose chunks are shards)."""
    shape, chunks = (CLASSES, FEATURES), (CLASSES // SHARDS, FEATURES)
    w, velocity = da.zeros(shape, chunks=chunks).persist(), da.zeros(shape, chunks=chunks).persist()
    losses = []
    with Progress() as progress:
        bar = progress.add_task("training", total=steps)
        for _ in range(steps):
            loss, (_, dw, _) = csoftmax.dask.linear_cross_entropy(x, w, labels, return_grad=True)
            velocity = MOMENTUM * velocity - (1 - MOMENTUM) * RATE * dw
            loss, velocity, w = dask.persist(loss, velocity, w + velocity)
            losses.append(float(loss))
            progress.update(bar, advance=1, description=f"loss {losses[-1]:.4f}")
    return losses, w


def plot(losses, path):
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot(range(len(losses)), losses, marker=".", label="training loss")
    axes.axhline(np.log(CLASSES), color="0.6", linestyle="--", label=f"log {CLASSES}: all classes alike")
    axes.set(xlabel="step", ylabel="cross-entropy, nats", title=f"{CLASSES} classes in {SHARDS} shards", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("plot", type=Path, help="where the plot goes")
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    features, labels = data()
    with LocalCluster(n_workers=SHARDS, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        x = da.from_array(features, chunks=(ROWS, FEATURES)).persist()
        losses, w = train(x, labels, arguments.steps)
        right = float((da.argmax(x @ w.T, axis=1) == labels).mean().compute())
    print(f"loss {losses[0]:.4f} to {losses[-1]:.4f}, accuracy {100 * right:.1f} % of {ROWS} rows, {CLASSES} classes")
    plot(losses, arguments.plot)


if __name__ == "__main__":
    main()
