"""The pictures of the pages, drawn as the site is built; a page has `<!-- picture NAME -->` where one belongs.

GitHub shows nothing there. `PICTURES` names the functions that draw; the docstring of each is its caption.
"""

import csv
import re
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench" / "compare"))

import report  # noqa: E402

matplotlib.use("Agg")

FOLDER = "generated/pictures"
MARGINS = ROOT / "docs" / "accuracy" / "margins.csv"
STYLE = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False}
OURS, OTHERS = "#c8412f", ("#1f6fb4", "#3b9c6b", "#8a63b8", "#e0a030", "#777777")
LINES = ((0, (1, 1)), "--", "-.", (0, (5, 1)), (0, (3, 1, 1, 1)))
NOTHING = 1e-46
"""Where an axis of logarithms has 0: below the smallest float32."""


def margins(what):
    """The margins, what is exact there, and a list per library."""
    with MARGINS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["what"] == what]
    libraries = list(rows[0])[3:]
    found = {library: [float(row[library]) for row in rows] for library in libraries}
    return [int(row["margin"]) for row in rows], [row["exact"] for row in rows], found


def draw_libraries(axes, x, found, least):
    """A line each; ours, the first, on top."""
    (ours, values), *others = found.items()
    for (library, theirs), color, line in zip(others, OTHERS, LINES, strict=True):
        axes.plot(x, [max(y, least) for y in theirs], color=color, linestyle=line, linewidth=1.5, label=library)
    axes.plot(x, [max(y, least) for y in values], color=OURS, linewidth=2, label=ours)
    axes.set_yscale("log")


def loss():
    """The float32 loss of the logits (m, 0, 0), the target being the first class. The exact loss is log(1 + 2 exp(-m));
    csoftmax has it down to the smallest float32 number, the others from a lead of 17 on have 0.
    """
    x, exact, found = margins("loss")
    figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    draw_libraries(axes, x, found, NOTHING)
    axes.plot(x[::5], [float(value) for value in exact[::5]], "k.", markersize=4, label="exact")
    axes.set(xlabel="lead m of the target", ylabel="loss", ylim=(NOTHING, 10))
    axes.set_yticks([NOTHING, 1e-40, 1e-30, 1e-20, 1e-10, 1], ["0", "1e-40", "1e-30", "1e-20", "1e-10", "1"])
    axes.minorticks_off()
    axes.legend(ncols=2, fontsize=8)
    return figure


def error():
    """The worst error of a float32 loss in 30 rows of ten classes, by the target's lead over the largest other logit,
    in units in the last place of the exact loss. csoftmax stays below 4; a loss of 0 is off by all its digits.
    """
    x, _, found = margins("error")
    figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    draw_libraries(axes, x, found, 0.1)
    axes.axhline(4, color=OURS, linewidth=0.8, linestyle=":")
    axes.text(100, 4.6, "bound of csoftmax: 4", color=OURS, ha="right", fontsize=8)
    axes.set(xlabel="lead of the target", ylabel="worst error, ULP", ylim=(0.1, 1e8))
    axes.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.22), frameon=False)
    return figure


def ratios():
    """The time of the fastest other library over that of csoftmax, a dot per shape; right of 1 csoftmax is faster. The
    bar is the geometric mean. The CPU and the versions are those of the text.
    """
    run = report.last_kept()
    ops = list(dict.fromkeys(row["op"] for row in run.rows))[::-1]
    figure, both = plt.subplots(1, 2, figsize=(8.5, 4.2), layout="constrained", sharey=True)
    for threads, axes in zip((1, 2), both, strict=True):
        for place, op in enumerate(ops):
            for shift, (dtype, color) in zip((0.14, -0.14), report.COLORS.items(), strict=True):
                values = [float(row["ratio"]) for row in run.of(threads, op=op, dtype=dtype, kind="")]
                axes.plot(values, [place + shift] * len(values), "o", color=color, markersize=4, alpha=0.8, label=dtype)
                mean = report.geometric_mean(values)
                axes.plot([mean, mean], [place + shift - 0.14, place + shift + 0.14], color="black", linewidth=1.5)
        axes.axvline(1, color=report.SLOWER, linewidth=1)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_yticks(range(len(ops)), [report.NAMES.get(op, op) for op in ops])
        axes.set(title=report.plural(threads), xlabel="time of the fastest other / time of csoftmax")
    handles, labels = both[0].get_legend_handles_labels()
    both[0].legend(handles[:2], labels[:2], fontsize=8)
    return figure


PICTURES = {"loss": loss, "error": error, "ratios": ratios}


def draw(app):
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        for name, picture in PICTURES.items():
            figure = picture()
            figure.savefig(folder / f"{name}.svg")
            plt.close(figure)


def place(app, docname, source):
    def figure(mark):
        caption = " ".join(PICTURES[mark[1]].__doc__.split())
        return f"```{{figure}} /{FOLDER}/{mark[1]}.svg\n:alt: {caption}\n\n{caption}\n```"

    source[0] = re.sub(f"<!-- picture ({'|'.join(PICTURES)}) -->", figure, source[0])


def setup(app):
    app.connect("builder-inited", draw)
    app.connect("source-read", place)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
