"""The figures: ratio to the best peer per cell, on a log scale, wins and losses alike."""

from collections import defaultdict

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from report import CELLS, FASTER, geometric_mean, plural

plt.rcParams["svg.fonttype"] = "none"  # text as text, a third of the bytes

COLORS = {"float32": "#1f6fb4", "float64": "#7fb6dd", "float16": "#4d8a33", "bfloat16": "#a3c98a"}
SLOWER = "#c8412f"
TICKS = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
LEAST = 0.1  # a bar below it is cut off; its figure stands beside it
COLUMNS, WIDTH, BAR = 2, 11, 0.19  # inches
WORTH_A_FIGURE = 4  # cells


def draw(run, folder, stamp):
    """Writes SVG and PNG per number of threads, in place apart; returns their names."""
    groups = defaultdict(list)
    for record in run["cells"]:
        if record.get("ratio"):
            groups[record["threads"], CELLS[record["cell"]].in_place].append(record)
    names = []
    for (threads, in_place), records in groups.items():
        if len(records) < WORTH_A_FIGURE:
            continue
        figure = panels(records, heading(run, records, threads, in_place))
        name = f"{stamp}-{plural(threads).replace(' ', '-')}" + "-in-place" * in_place
        for kind in ("svg", "png"):
            figure.savefig(folder / f"{name}.{kind}", dpi=150, facecolor="white")
        plt.close(figure)
        names.append(f"{name}.svg/.png")
    return names


def heading(run, records, threads, in_place):
    mean = geometric_mean([record["ratio"] for record in records])
    where = "in place" if in_place else "out of place"
    return (
        f"Time of the fastest peer over the time of csoftmax, {where}, {plural(threads)}: "
        f"{mean:.2f} in the geometric mean\n{run['machine']['cpu']}, {run['machine']['date'][:10]}. "
        f"Right of 1 csoftmax is faster; dotted: {FASTER:g}; beside a bar, the fastest peer."
    )


def panels(records, title):
    by_op = defaultdict(list)
    for record in records:
        by_op[CELLS[record["cell"]].op].append(record)
    columns = min(COLUMNS, len(by_op))
    lines = -(-len(by_op) // columns)
    sizes = [len(group) for group in by_op.values()]
    tallest = [max(sizes[i * columns : (i + 1) * columns]) for i in range(lines)]
    heights = [BAR * n + 0.6 for n in tallest]
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(WIDTH, sum(heights) + 0.9),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    ratios = [record["ratio"] for record in records]
    right = max(4, *ratios) * 3.5  # room for the peers' names
    limits = max(LEAST, min(0.7, min(ratios) / 1.2)), right
    for number, axis in enumerate(axes.flat):
        if number < len(by_op):
            op = list(by_op)[number]
            panel(axis, op, by_op[op], limits, tallest[number // columns])
        else:
            axis.axis("off")
    dtypes = [dtype for dtype in COLORS if any(CELLS[r["cell"]].dtype == dtype for r in records)]
    keys = [Patch(color=COLORS[dtype], label=dtype) for dtype in dtypes]
    keys.append(Patch(color=SLOWER, label="slower"))
    figure.legend(handles=keys, loc="outside lower left", ncols=len(keys), frameon=False, fontsize=9)
    return figure


def panel(axis, op, group, limits, places):
    labels = []
    for place, record in enumerate(group):
        cell, ratio = CELLS[record["cell"]], record["ratio"]
        shape = " x ".join(map(str, cell.shape)) + ", axis 0" * (cell.axis == 0)
        labels.append(f"{shape}   {cell.dtype}")
        color = COLORS[cell.dtype] if ratio >= 1 else SLOWER
        axis.barh(place, max(ratio, limits[0]) - 1, left=1, color=color, height=0.74)
        text = f"{ratio:.{1 if ratio >= 10 else 2}f}  {record['best_peer']}"
        axis.text(max(ratio, 1) * 1.07, place, text, va="center", fontsize=8, color="#333333")
    axis.set_xscale("log")
    axis.set_xlim(limits)
    axis.set_ylim(places - 0.4, -0.6)
    axis.set_yticks(range(len(group)), labels, fontsize=8)
    axis.xaxis.set_major_locator(FixedLocator([t for t in TICKS if limits[0] <= t <= limits[1]]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.tick_params(axis="x", labelsize=8)
    axis.tick_params(axis="y", length=0)
    axis.axvline(1, color="black", linewidth=1)
    axis.axvline(FASTER, color="#999999", linewidth=0.8, linestyle=":", zorder=0)
    axis.set_title(op, fontsize=10, loc="left", fontweight="bold")
    axis.spines[["top", "right", "left"]].set_visible(False)
