"""How much of a teacher must be kept? Students learn from the k largest probabilities of each row, by (index, prob).

    pip install csoftmax rich matplotlib
    python examples/distillation.py [PLOT.png]

The data are made: a teacher gives each of 2000 rows probabilities of 400 classes. A student of the same form, a softmax
regression, learns from the teacher's k best classes per row, kept as uint16 and float16; from all of them, in float16;
or from one label per row drawn from the teacher. On new rows the divergence of the student from the teacher says what
was lost: the classes left out count as 0, so that a small k makes students that are too sure. Labels are learned by
heart, so that student takes shorter steps and is stopped at the best of three moments.
"""

import argparse

import numpy as np
from rich.progress import Progress

import csoftmax

ROWS, FEATURES, CLASSES, STEPS, RATE, MOMENTUM = 2000, 16, 400, 120, 150.0, 0.9
KEPT = (1, 2, 5, 10, 20, 50, 100)
LABEL_RATE, LABEL_STEPS = 20.0, (50, 80, 120)


def best(p, k):
    """What is stored of the teacher: (class indices, probabilities) of the k best classes of each row."""
    index = np.argpartition(p, -k, axis=1)[:, -k:]
    return index.astype(np.uint16), np.take_along_axis(p, index, axis=1).astype(np.float16)


def drawn(p, rng):
    """A label per row, from its probabilities: the argmax of the logarithms plus Gumbel noise."""
    return (np.log(p) + rng.gumbel(size=p.shape)).argmax(axis=1)


def learn(x, target, rate, steps, advance):
    """The weights of a student after so many steps."""
    w, velocity = np.zeros((2, CLASSES, FEATURES), np.float32)
    for _ in range(steps):
        _, (_, dw, _) = csoftmax.linear_cross_entropy(x, w, target, return_grad=True)
        velocity *= MOMENTUM
        velocity -= (1 - MOMENTUM) * rate * dw
        w += velocity
        advance()
    return w


def plot(found, of_labels, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    bytes_per_row, divergences = np.array(list(found.values())).T
    axes.plot(bytes_per_row, divergences, "o-", color="#1f6fb4", label="the teacher's probabilities")
    for k, (x, y) in found.items():
        axes.annotate(k, (x, y), textcoords="offset points", xytext=(-8, -10), ha="right", fontsize=8)
    axes.axhline(
        of_labels,
        color="black",
        linestyle=":",
        label="one label per row, drawn from the teacher, stopped at the best step",
    )
    axes.set(xlabel="bytes kept per row", ylabel="KL(teacher, student) on new rows, nats", xscale="log", yscale="log")
    axes.margins(0.1)
    axes.legend(fontsize=8, loc="lower left")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plot", nargs="?", help="where to save the plot")
    path = parser.parse_args().plot
    rng = np.random.default_rng(0)
    x, new = rng.standard_normal((2, ROWS, FEATURES), np.float32)
    teacher = rng.standard_normal((CLASSES, FEATURES), np.float32)
    p, of_new = csoftmax.softmax(x @ teacher.T), new @ teacher.T
    found = {}
    with Progress() as progress:
        bar = progress.add_task("students", total=STEPS * (len(KEPT) + 1) + sum(LABEL_STEPS))

        def divergence(target, rate=RATE, steps=STEPS):
            w = learn(x, target, rate, steps, lambda: progress.advance(bar))
            return csoftmax.kl_divergence(of_new, new @ w.T)

        labels = drawn(p, rng)
        of_labels = min(divergence(labels, LABEL_RATE, steps) for steps in LABEL_STEPS)
        progress.console.print(f"one label per row: KL {of_labels:.4f}", highlight=False)
        for k in KEPT:
            index, prob = best(p, k)
            found[f"k = {k}"] = (index.nbytes + prob.nbytes) / ROWS, divergence((index, prob))
        found[f"all {CLASSES}"] = 2 * CLASSES, divergence(p.astype(np.float16))
        for name, (size, value) in found.items():
            progress.console.print(f"{name:>8}: {size:>4.0f} bytes per row, KL {value:.5f}", highlight=False)
    if path:
        plot(found, of_labels, path)


if __name__ == "__main__":
    main()
