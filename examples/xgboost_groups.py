"""Which of several offers a customer takes: XGBoost learns a utility from the choices, as a softmax over each group.

    pip install 'csoftmax[boosting]' rich matplotlib
    python examples/xgboost_groups.py [PLOT.png]

The data are made: 2000 customers see 2 to 12 flights with price, duration and stops, and take the one of the largest
utility, part of which nobody sees. That makes the choices a conditional logit, whose utilities the trees find again.
A logistic model of "taken or not" is trained beside it: it does not know what a flight competed with.
"""

import argparse

import numpy as np
import xgboost
from rich.progress import Progress

import csoftmax
from csoftmax.boosting import SoftmaxObjective

CUSTOMERS, ROUNDS = 2000, 80
OPTIONS = {"max_depth": 3, "eta": 0.2, "base_score": 0.0, "nthread": 1, "disable_default_eval_metric": True}


def price_effect(price):
    """What a price in euros is worth: the second hundred hurts more than the first, beyond 300 all is one."""
    return -4 / (1 + np.exp(-(price - 180) / 30))


def utility(flights):
    price, hours, stops = flights.T
    return price_effect(price) - 0.4 * hours - 0.8 * stops


def make_choices(customers, rng):
    """(flights, 1 for those taken, sizes of the groups)."""
    sizes = rng.integers(2, 13, customers)
    count = sizes.sum()
    flights = np.column_stack([rng.uniform(50, 400, count), rng.uniform(1, 8, count), rng.integers(0, 3, count)])
    seen = utility(flights) + rng.gumbel(size=count)
    ends = np.cumsum(sizes)
    taken = np.zeros(count)
    for start, end in zip(ends - sizes, ends, strict=True):
        taken[start + seen[start:end].argmax()] = 1
    return flights, taken, sizes


def hits(scores, taken, sizes):
    """How often the flight of the largest score is the one taken."""
    cuts = np.cumsum(sizes)[:-1]
    pairs = zip(np.split(scores, cuts), np.split(taken, cuts), strict=True)
    return np.mean([taken_here[here.argmax()] for here, taken_here in pairs])


class Bar(xgboost.callback.TrainingCallback):
    """Moves a progress bar by a step per round."""

    def __init__(self, progress, name):
        self.progress, self.task = progress, progress.add_task(name, total=ROUNDS)

    def after_iteration(self, model, epoch, evals_log):
        self.progress.advance(self.task)
        return False


def curves(booster):
    """Prices, the learned effect of each (at the mean of the other features) and the true one, both of mean 0."""
    prices = np.linspace(50, 400, 200)
    others = np.column_stack([prices, np.full(200, 4.5), np.ones(200)])
    learned, true = booster.predict(xgboost.DMatrix(others), output_margin=True), price_effect(prices)
    return prices, learned - learned.mean(), true - true.mean()


def plot(losses, floor, boosters, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(range(1, ROUNDS + 1), losses, label="softmax over the group")
    left.axhline(floor, color="black", linestyle=":", label="true utility")
    left.set(xlabel="boosting round", ylabel="loss per choice, other customers")
    for name, booster in boosters.items():
        prices, learned, true = curves(booster)
        right.plot(prices, learned, label=name)
    right.plot(prices, true, color="black", linestyle=":", label="true utility")
    right.set(xlabel="price in euros", ylabel="utility, less its mean")
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plot", nargs="?", help="where to save the plot")
    path = parser.parse_args().plot
    rng = np.random.default_rng(0)
    flights, taken, sizes = make_choices(CUSTOMERS, rng)
    others, others_taken, other_sizes = make_choices(1000, rng)
    data = xgboost.DMatrix(flights, taken, group=sizes)
    test = xgboost.DMatrix(others, others_taken, group=other_sizes)
    objective, log = SoftmaxObjective(hessian="upper", groups="data"), {}
    with Progress() as progress:
        listwise = xgboost.train(
            OPTIONS,
            data,
            ROUNDS,
            obj=objective,
            custom_metric=objective.loss,
            evals=[(test, "test")],
            evals_result=log,
            verbose_eval=False,
            callbacks=[Bar(progress, "softmax over the group")],
        )
        logistic = xgboost.train(
            OPTIONS | {"objective": "binary:logistic", "base_score": 0.5},
            xgboost.DMatrix(flights, taken),
            ROUNDS,
            callbacks=[Bar(progress, "logistic, row by row")],
        )
    true = utility(others)
    floor = SoftmaxObjective(groups=other_sizes).loss(others_taken, true)
    boosters, losses = {"softmax over the group": listwise, "logistic, row by row": logistic}, log["test"]["loss"]
    for name, booster in boosters.items():
        scores = booster.predict(xgboost.DMatrix(others), output_margin=True)
        print(f"{name:>22}: takes the right flight for {hits(scores, others_taken, other_sizes):.3f} of the customers")
    print(f"{'true utility':>22}: {hits(true, others_taken, other_sizes):.3f}")
    print(f"loss per choice: {losses[-1]:.4f}, of the true utility {floor:.4f}")
    first = listwise.predict(xgboost.DMatrix(others[: other_sizes[0]]), output_margin=True)
    print("probabilities of the first customer's flights:", csoftmax.softmax(first).round(3))
    if path:
        plot(losses, floor, boosters, path)


if __name__ == "__main__":
    main()
