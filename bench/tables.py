"""The tables of README.md and docs/performance.md, from the CSV files of runs.

    python bench/tables.py RUN.csv [RUN.csv ...] [--avx2 RUN.csv]

The last run that has a cell counts; that of --avx2 was made with CSOFTMAX_ISA=avx2. What stands between
`<!-- speed -->` and `<!-- /speed -->` and the like is replaced.
"""

import argparse
import csv
import math
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = {
    "cross_entropy": "loss + gradient",
    "cross_entropy_soft": "loss + gradient of probabilities",
    "linear_cross_entropy": "linear loss + gradients",
    "jacobian": "softmax_jacobian",
    "vjp": "softmax_vjp",
    "grad_hess": "softmax_grad_hess",
}
CHOSEN = """
softmax float32 (1, 10)|softmax float32 (10000, 3)|softmax float32 (10000, 10)|softmax float32 (4096, 128)
softmax float32 (1024, 1000)|softmax float32 (64, 128256)|softmax float64 (1024, 1000)|softmax float16 (1024, 1000)
logsumexp float32 (1024, 1000)|loss + gradient float32 (1, 10)|loss + gradient float32 (10000, 3)
loss + gradient float32 (10000, 10)|loss + gradient float32 (4096, 128)|loss + gradient float32 (1024, 1000)
loss + gradient float32 (64, 128256)|loss + gradient float64 (1024, 1000)|loss + gradient bfloat16 (1024, 1000)
loss + gradient of probabilities float32 (1024, 1000)|softmax_grad_hess float32 (10000, 10)
softmax_vjp float32 (10000, 10)|softmax_vjp float32 (1024, 1000)|softmax_jacobian float32 (10000, 10)
softmax_jacobian float32 (4096, 128)|linear loss + gradients float32 (1024, 256, 32000)
"""


def name_of(row):
    shape = "(" + row["shape"].replace("x", ", ") + ")"
    axis = ", axis 0" if row["axis"] == "0" and shape.count(",") == 1 else ""
    place = ", in place" if row["in_place"] == "True" else ""
    return f"{NAMES.get(row['op'], row['op'])} {row['dtype']} {shape}{axis}{place}"


def read(paths):
    """{threads: {cell: row}} of the cells that were timed beside a peer."""
    runs = {}
    for path in paths:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if row["status"] == "timed" and row["ratio"]:
                    runs.setdefault(int(row["threads"]), {})[name_of(row)] = row
    return runs


def number(text):
    return f"{float(text):.3g}"


def line(name, row, full=False):
    peer = float(row["csoftmax"]) * float(row["ratio"])
    cells = [name, number(row["csoftmax"]), number(peer), row["best_peer"], f"{float(row['ratio']):.2f}"]
    if full:
        share = f"{float(row['share_of_limit']):.0%}" if row["share_of_limit"] else ""
        cells += [share, "yes" if row["target_met"] == "True" else "no", row["scaling"] and number(row["scaling"])]
    return "| " + " | ".join(cells) + " |"


def replace(path, mark, lines):
    text = path.read_text()
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    new = "\n".join([start, *lines, end])
    path.write_text(re.sub(re.escape(start) + ".*?" + re.escape(end), lambda _: new, text, flags=re.DOTALL))


def summary(rows):
    ratios = [float(row["ratio"]) for row in rows]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    met = sum(row["target_met"] == "True" for row in rows)
    ahead = sum(ratio > 1 for ratio in ratios)
    return f"{len(rows)} cells: {mean:.2f} times the best peer (geometric mean), ahead in {ahead}, on target in {met}."


def full_table(rows):
    head = ["| cell | csoftmax | best peer | which | ratio | of limit | target met | vs one thread |", "|" + "---|" * 8]
    return [summary(rows.values()), "", *head, *(line(name, row, full=True) for name, row in rows.items())]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("runs", nargs="+")
    options.add_argument("--avx2")
    chosen = options.parse_args()
    runs = read(chosen.runs)
    head = ["| cell | csoftmax | best peer | which | ratio |", "|---|---|---|---|---|"]
    shown = [name for name in re.split(r"\||\n", CHOSEN.strip()) if name in runs[1]]
    replace(ROOT / "README.md", "speed", head + [line(name, runs[1][name]) for name in shown])
    page = ROOT / "docs" / "performance.md"
    for threads, rows in runs.items():
        halves = {name: row for name, row in rows.items() if "float16" in name}
        replace(page, f"{threads} threads", full_table({name: rows[name] for name in rows if name not in halves}))
        if threads == 1 and halves:
            replace(page, "16 bits", full_table(halves))
    if chosen.avx2:
        replace(page, "avx2", full_table(read([chosen.avx2])[1]))


if __name__ == "__main__":
    main()
