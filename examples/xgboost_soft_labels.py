"""Labels on which people disagree: XGBoost learns from the shares of their votes, or from the majority.

    pip install 'csoftmax[boosting]' rich matplotlib
    python examples/xgboost_soft_labels.py [PLOT.png]

The data are made: each item is one of three classes with probabilities that depend on two features, and three
annotators vote by these. The shares of the votes are soft labels; the majority is one label, which says nothing of the
doubts. What counts is the loss of a further vote on new items. It cannot be less than with the true probabilities.
"""

import argparse

import numpy as np
import xgboost
from rich.progress import Progress

import csoftmax
from csoftmax.boosting import SoftmaxObjective

CLASSES, ITEMS, VOTES, ROUNDS = 3, 1500, 3, 60
OPTIONS = {"max_depth": 3, "eta": 0.1, "base_score": 0.0, "nthread": 1, "disable_default_eval_metric": True}


class Bar(xgboost.callback.TrainingCallback):
    """Moves a progress bar by a step per round."""

    def __init__(self, progress, name):
        self.progress, self.task = progress, progress.add_task(name, total=ROUNDS)

    def after_iteration(self, model, epoch, evals_log):
        self.progress.advance(self.task)
        return False


def make_items(count, rng):
    """(features, true probabilities of the classes)."""
    features = rng.uniform(-2, 2, (count, 2))
    a, b = features.T
    return features, csoftmax.softmax(np.column_stack([2 * a, 2 * np.sin(2 * b), a * b]))


def shares_of_votes(p, rng):
    """The share of the votes that each class of each item gets, and one-hot the class that gets most."""
    shares = rng.multinomial(VOTES, p) / VOTES
    majority = (shares + 1e-3 * rng.random(shares.shape)).argmax(axis=1)  # of equal shares any
    return shares, np.eye(CLASSES)[majority]


def train(data, test, bar):
    """The loss on the test data after each round, and the probabilities after the last."""
    objective, log = SoftmaxObjective(hessian="upper"), {}
    booster = xgboost.train(
        OPTIONS,
        data,
        ROUNDS,
        obj=objective,
        custom_metric=objective.loss,
        evals=[(test, "test")],
        evals_result=log,
        verbose_eval=False,
        callbacks=[bar],
    )
    return log["test"]["loss"], csoftmax.softmax(booster.predict(test, output_margin=True))


def plot(losses, floor, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, values in losses.items():
        axes.plot(range(1, ROUNDS + 1), values, label=name)
    axes.axhline(floor, color="black", linestyle=":", label="true probabilities")
    axes.set(xlabel="boosting round", ylabel="loss of a further vote on new items")
    axes.set_title(f"{ITEMS} items with {VOTES} votes each")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plot", nargs="?", help="where to save the plot")
    path = parser.parse_args().plot
    rng = np.random.default_rng(0)
    features, p = make_items(ITEMS, rng)
    new, true = make_items(4000, rng)
    test, floor, losses = xgboost.DMatrix(new, true), csoftmax.cross_entropy(np.log(true), true), {}
    with Progress() as progress:
        for name, target in zip(("shares", "majority"), shares_of_votes(p, rng), strict=True):
            losses[name], found = train(xgboost.DMatrix(features, target), test, Bar(progress, name))
            error = abs(found - true).mean()
            progress.console.print(f"{name:>8}: loss {losses[name][-1]:.4f}, mean error of a probability {error:.3f}")
    print(f"    true: loss {floor:.4f}")
    if path:
        plot(losses, floor, path)


if __name__ == "__main__":
    main()
