"""What a run found: tables on the terminal, JSON and CSV. And from the runs that are kept, the pages and the figures.

    python bench/compare/report.py                    writes the generated tables of README.md and docs/performance.md
    python bench/compare/report.py --check            exits with 1 where these are not what the last kept run gives
    python bench/compare/report.py --figures FOLDER   draws a figure per number of threads, as SVG (needs matplotlib)
    python bench/compare/report.py --keep bench/results/RUN.csv NAME --about TEXT
                                                      writes docs/benchmarks/NAME.csv, with TEXT at its top

A kept run is a file of docs/benchmarks/; the last by name counts. The first two commands need no other package.
"""

import argparse
import csv
import json
import math
import statistics
import sys
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path

from cells import every_cell

ROOT = Path(__file__).parents[2]
CELLS = {cell.name: cell for cell in every_cell()}
OURS = "csoftmax"
MEMORY_PEERS = (OURS, "PyTorch")  # both take out=; what they need beyond it is what is measured
FASTER, OF_LIMIT, GEOMEAN, SCALING = 1.25, 0.85, 2.0, 1.8  # the targets
LINEAR_MOST, PYTORCH = 1.1, "PyTorch"  # of its time, in the linear cross-entropy
NOISE = 0.1  # cores
TOLD = 12  # losses spelled out below the table
SCALED_FROM = 150_000  # elements: below, waking a second thread costs more than it brings


def summarize(record):
    """Adds the figures of the table to a timed record: all in ns per element, ratios above 1 being wins."""
    if record["status"] != "timed":
        return record
    ns = {name: 1e9 * t["seconds"] / record["elements"] for name, t in record["times"].items()}
    record["ns"], record["limit_ns"] = ns, 1e9 * record["limit"]["seconds"] / record["elements"]
    peers = {name: value for name, value in ns.items() if name != OURS}
    record["best_peer"] = min(peers, key=peers.get, default=None)
    if OURS in ns:
        record["share"] = record["limit_ns"] / ns[OURS]
        record["ratio"] = peers[record["best_peer"]] / ns[OURS] if peers else None
        met = record["share"] >= OF_LIMIT or (record["ratio"] or 0) >= FASTER
        if CELLS[record["cell"]].op == "linear_cross_entropy" and PYTORCH in ns:
            met = met or ns[OURS] <= LINEAR_MOST * ns[PYTORCH]
        record["target_met"] = met
    elif OURS in record["left out"]:
        record["target_met"] = False
    return record


def add_scaling(records):
    """`scaling`: how many times faster a cell is than with one thread."""
    single = {r["cell"]: r["ns"][OURS] for r in records if r["threads"] == 1 and OURS in r.get("ns", {})}
    for record in records:
        if record["threads"] > 1 and OURS in record.get("ns", {}) and record["cell"] in single:
            record["scaling"] = single[record["cell"]] / record["ns"][OURS]


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def number(value):
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def titled(title):
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def table(records, threads):
    view = titled(f"{plural(threads)}: ns per element")
    view.add_column("", no_wrap=True)
    for heading in (OURS, "best peer", "", "ratio", "of limit", "target"):
        view.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    if threads > 1:
        view.add_column("vs one", justify="right", no_wrap=True)
    absent, operation = {}, None
    for record in records:
        if record["threads"] != threads:
            continue
        cell = CELLS[record["cell"]]
        if record["status"] != "timed":
            absent.setdefault((cell.op, cell.dtype, record["status"]), []).append(record)
            continue
        if operation != cell.op:
            operation = cell.op
            view.add_section()
            view.add_row(f"[bold]{operation}[/]")
        view.add_row(*row(record, threads))
    view.add_section()
    for (op, dtype, status), group in absent.items():
        view.add_row(f"[dim]{op} {dtype}", f"[dim]{len(group)} cells", "", f"[dim]{status}")
    return view


def row(record, threads):
    ns, best = record["ns"], record["best_peer"]
    ratio, met = record.get("ratio"), record.get("target_met")
    color = "red" if (ratio or 1) < 1 else "green" if (ratio or 1) >= FASTER else "default"
    cells = [
        record["cell"].split(maxsplit=1)[1],
        number(ns.get(OURS)) if OURS not in record["left out"] else "[red]WRONG[/]",
        number(ns.get(best)),
        best or "none",
        f"[{color}]{number(ratio)}x[/]" if ratio else "-",
        f"{record['share']:.0%}" if "share" in record else "-",
        judged(met),
    ]
    if threads > 1:
        cells.append(f"{record['scaling']:.2f}x" if "scaling" in record else "-")
    return cells


def judged(met):
    return {True: "[green]met[/]", False: "[red]missed[/]", None: "-"}[met]


def machine_lines(machine):
    for key, value in machine.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items() if v) if isinstance(value, dict) else value
        yield f"{key}: {shown}"


def plural(threads):
    return f"{threads} thread{'s' * (threads > 1)}"


def lines(run):
    """The summary in sentences, wins and losses alike."""
    from rich.markup import escape

    if run["cores busy elsewhere"] > NOISE:
        yield (
            f"[yellow]Others kept {run['cores busy elsewhere']:.1f} cores busy meanwhile[/]: the figures are "
            "noisy, those of several threads most of all."
        )
    for record in run["cells"]:
        if "last words" in record:
            where = f"{record['cell']}, {plural(record['threads'])}"
            yield f"[red]died[/] in {where}: {escape(record['last words'])}"
    for name, why in run["missing"].items():
        yield f"[yellow]{name} is missing[/]: {escape(why)}"
    absent = [(CELLS[r["cell"]], r["reason"]) for r in run["cells"] if "reason" in r]
    for (op, dtype), why in {(cell.op, cell.dtype): why for cell, why in absent}.items():
        yield f"[yellow]not there yet[/]: {op} {dtype} ({escape(why)})"
    told = set()
    for record in run["cells"]:
        for name, why in record.get("left out", {}).items():
            if (name, record["cell"]) not in told:
                told.add((name, record["cell"]))
                yield f"[yellow]{name} is not timed[/] in {record['cell']}: {escape(why)}"
    for record in run["cells"]:
        if CELLS[record["cell"]].op == "linear_cross_entropy" and "share" in record:
            yield linear_line(record)
    for threads in run["settings"]["threads"]:
        figures = [r for r in run["cells"] if r["threads"] == threads and "target_met" in r]
        ratios = [r["ratio"] for r in figures if r.get("ratio")]
        if not figures:
            continue
        met = sum(r["target_met"] for r in figures)
        yield (
            f"[bold]{plural(threads)}[/]: {number(geometric_mean(ratios))}x the best peer in the geometric "
            f"mean of {len(ratios)} cells (target {GEOMEAN:g}x); targets met in {met} of {len(figures)}; "
            f"faster in {sum(x > 1 for x in ratios)}, slower in {sum(x < 1 for x in ratios)}."
        )
        losses = sorted((r for r in figures if (r.get("ratio") or 1) < 1), key=lambda r: r["ratio"])
        for r in losses[:TOLD]:
            yield f"  [red]slower[/] in {r['cell']}: {number(1 / r['ratio'])}x the time of {r['best_peer']}"
        if losses[TOLD:]:
            yield f"  and in {len(losses) - TOLD} more, red in the table"
        cached = [r for r in figures if "scaling" in r and r["elements"] >= SCALED_FROM and in_cache(r, run)]
        if cached:
            worst = min(cached, key=lambda r: r["scaling"])
            yield (
                f"  {threads} threads against one, in cache, {len(cached)} cells: median "
                f"{statistics.median(r['scaling'] for r in cached):.2f}x (target {SCALING:g}x), least "
                f"{worst['scaling']:.2f}x in {worst['cell']}"
            )


def linear_line(record):
    """The share of the matrix products, and how the time compares with PyTorch's."""
    where = f"{record['cell']}, {plural(record['threads'])}"
    line = f"{where}: the matrix products, made whole, take {record['share']:.0%} of its time"
    if PYTORCH not in record["ns"]:
        return line
    ratio = record["ns"][OURS] / record["ns"][PYTORCH]
    return f"{line}, which is {number(ratio)}x that of {PYTORCH} (target: at most {LINEAR_MOST}x)"


def in_cache(record, run):
    size = list(run["machine"]["caches"].values())[-1:] or ["8M"]
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    return CELLS[record["cell"]].footprint <= int(size[0][:-1]) * units[size[0][-1]] // 2


def memory_table(found):
    from rich.markup import escape

    view = titled(f"Peak extra memory of one call with out=, {plural(found[0]['threads'])}: KB")
    for heading in ("", MEMORY_PEERS[0], "allowed", "target", *MEMORY_PEERS[1:]):
        view.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    by_cell = {}
    for entry in found:
        by_cell.setdefault(entry["cell"], {})[entry["peer"]] = entry
    for cell, entries in by_cell.items():
        ours, sizes = entries[OURS], []
        for entry in entries.values():
            sizes.append(f"{entry['bytes'] / 1024:.0f}" if "bytes" in entry else escape(entry["failed"][:40]))
        met = ours["bytes"] <= ours["allowed"] if "bytes" in ours else None
        view.add_row(cell, sizes[0], f"{ours['allowed'] / 1024:.0f}", judged(met), *sizes[1:])
    return view


def abilities_table(found):
    title = f"The machine, {plural(found['threads'])}: GB/s by size of a stream; in L1, ns per element"
    view = titled(title)
    bandwidth, loops = found["bandwidth GB/s by stream"], found["in L1, ns per element"]
    for heading in ("", *bandwidth, "", *loops):
        view.add_column(heading, justify="right" if heading else "left")
    in_cache = sorted({name for by_name in loops.values() for name in by_name})
    for moves, computes in zip_longest(next(iter(bandwidth.values())), in_cache, fillvalue=""):
        rates = [number(by_size[moves]) if moves else "" for by_size in bandwidth.values()]
        view.add_row(moves, *rates, computes, *(number(by_name.get(computes)) for by_name in loops.values()))
    return view


def write_json(run, path):
    path.write_text(json.dumps(run, indent=1))


def write_csv(run, path):
    names = sorted({name for r in run["cells"] for name in r.get("ns", {}) if name != OURS})
    fields = ["op", "dtype", "shape", "axis", "in_place", "kind", "threads", "status", OURS, f"{OURS}_q1"]
    fields += [f"{OURS}_q3", "best_peer", "ratio", "limit", "share_of_limit", "limit_set_by", "target_met"]
    fields += ["scaling", *names]
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, fields, restval="")
        out.writeheader()
        for r in run["cells"]:
            cell, ns = CELLS[r["cell"]], r.get("ns", {})
            shape = "x".join(map(str, cell.shape))
            line = asdict(cell) | {"shape": shape}
            line |= {k: round(r[k], 4) if isinstance(r[k], float) else r[k] for k in fields if k in r}
            if ns:
                line |= {k: round(v, 5) for k, v in ns.items()} | {"limit": round(r["limit_ns"], 5)}
                line |= {"limit_set_by": r["limit"]["by"], "share_of_limit": round(r.get("share", 0), 4)}
            if OURS in ns:
                per = 1e9 / r["elements"]
                line |= {f"{OURS}_{k}": round(per * r["times"][OURS][k], 5) for k in ("q1", "q3")}
            out.writerow(line)


# The runs that are kept

PEERS = {"JAX jit": "JAX", "NumPy formula": "NumPy", "ONNX Runtime": "ONNX"}  # shorter names
OTHERS = {"SciPy": ("SciPy",), "NumPy": ("NumPy formula",), "PyTorch": ("PyTorch", "PyTorch autograd", "oneDNN")}
NOT_PEERS = (OURS, "jaxlib", "ml_dtypes", "threadpoolctl")
KEPT = ["op", "dtype", "shape", "axis", "kind", "threads", OURS, "best_peer", "ratio", "of_limit", "target", *OTHERS]


def digits(value):
    return f"{float(value):.3g}" if value else ""


def keep(run, name, about):
    """Writes the cells out of place: ns per element, the ratio to the best peer, the percentage of the limit.

    The last columns are ns of peers, on one thread: the fastest way that each of them has.
    """
    described = json.loads(run.with_suffix(".json").read_text())["machine"]
    versions = [f"{key} {value}" for key, value in described["packages"].items() if key not in NOT_PEERS and value]
    lines = [f"# {about}", f"# Python {described['python']}, {', '.join(versions)}"]
    with run.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["status"] != "timed" or row["in_place"] == "True" or not row["ratio"]:
                continue
            usual = row["threads"] == "1" and not row["kind"]
            others = [min((float(row[k]) for k in keys if row.get(k)), default="") for keys in OTHERS.values()]
            lines.append(
                ",".join(
                    [
                        row["op"],
                        row["dtype"],
                        row["shape"],
                        row["axis"].replace("-1", ""),
                        row["kind"],
                        row["threads"],
                        digits(row[OURS]),
                        PEERS.get(row["best_peer"], row["best_peer"]),
                        f"{float(row['ratio']):.3f}",
                        f"{100 * float(row['share_of_limit']):.0f}",
                        "y" if row["target_met"] == "True" else "",
                        *(digits(value) if usual else "" for value in others),
                    ]
                ).rstrip(",")
            )
    path = ROOT / "docs" / "benchmarks" / f"{name}.csv"
    path.write_text("\n".join([*lines[:2], ",".join(KEPT), *lines[2:]]) + "\n")
    return path


class Kept:
    """A kept run: what its first line says, and its rows."""

    def __init__(self, path):
        lines = path.read_text().splitlines()
        self.name, self.about = path.stem, lines[0].removeprefix("# ")
        self.rows = list(csv.DictReader((line for line in lines if line[0] != "#"), restval=""))

    def of(self, threads, **fields):
        fields |= {"threads": str(threads)}
        return [row for row in self.rows if all(row[k] == v for k, v in fields.items())]


def last_kept():
    return Kept(max((ROOT / "docs" / "benchmarks").glob("*.csv")))


# The pages

NAMES = {
    "cross_entropy": "loss and gradient",
    "cross_entropy_soft": "loss of probabilities",
    "linear_cross_entropy": "linear loss",
    "jacobian": "softmax_jacobian",
    "vjp": "softmax_vjp",
    "grad_hess": "softmax_grad_hess",
}
CHOSEN = [
    ("softmax", "float32", "1x10"),
    ("softmax", "float32", "10000x10"),
    ("softmax", "float32", "1024x1000"),
    ("softmax", "float64", "1024x1000"),
    ("logsumexp", "float32", "1024x1000"),
    ("cross_entropy", "float32", "1024x1000"),
    ("vjp", "float32", "10000x10"),
]
"""The cells of the README."""


def shape_of(row):
    return "(" + row["shape"].replace("x", ", ") + ")" + ", axis 0" * (row["axis"] == "0")


def name_of(row):
    op = NAMES.get(row["op"], row["op"])
    return f"{op}, {row['dtype']} {shape_of(row)}{', ' * bool(row['kind'])}{row['kind']}"


def count(rows):
    """The geometric mean of the ratios, the cells ahead and all cells, as entries of a table."""
    ratios = [float(row["ratio"]) for row in rows]
    return f"{geometric_mean(ratios):.2f} | {sum(x > 1 for x in ratios)} of {len(ratios)}"


def line_of(*entries):
    return ("| " + " | ".join(entries) + " |").replace("|  |", "| |")


def speed_lines(run):
    """The table of the README."""
    yield line_of("one thread", "csoftmax", *OTHERS, "best peer")
    yield "|---|---|" + "---|" * (len(OTHERS) + 1)
    for op, dtype, shape in CHOSEN:
        (row,) = run.of(1, op=op, dtype=dtype, shape=shape, axis="", kind="")
        microseconds = float(row[OURS]) * math.prod(map(int, shape.split("x"))) / 1000
        times = [f"{float(row[peer]) / float(row[OURS]):.2g}" if row[peer] else "" for peer in OTHERS]
        best = f"{float(row['ratio']):.2f} ({row['best_peer']})"
        yield line_of(name_of(row), f"{number(microseconds)} µs", *times, best)


def count_lines(run):
    """Per operation and dtype, on one and two threads."""
    yield line_of("", *(f"{plural(n)}: mean | ahead" for n in (1, 2)))
    yield "|---|" + "---|" * 4
    usual = [row for row in run.of(1) if not row["kind"]]
    for op, dtype in dict.fromkeys((row["op"], row["dtype"]) for row in usual):
        counts = [count(run.of(n, op=op, dtype=dtype, kind="")) for n in (1, 2)]
        yield line_of(f"{NAMES.get(op, op)}, {dtype}", *counts)
    yield line_of("all of these", *(count(run.of(n, kind="")) for n in (1, 2)))
    for kind in dict.fromkeys(row["kind"] for row in run.rows if row["kind"]):
        yield line_of(f"{kind} logits: maps and losses", *(count(run.of(n, kind=kind)) for n in (1, 2)))
    yield ""
    met = [sum(row["target"] == "y" for row in run.of(n, kind="")) for n in (1, 2)]
    yield f"The target is met in {met[0]} of {len(usual)} cells on one thread and in {met[1]} on two."


def behind_lines(run):
    """The cells in which a peer is faster."""
    yield line_of("ratio below 1", *map(plural, (1, 2)))
    yield "|---|---|---|"
    found = {}
    for row in run.rows:
        text = f"{float(row['ratio']):.2f} {row['best_peer']}" if float(row["ratio"]) < 1 else ""
        found.setdefault(name_of(row), {})[row["threads"]] = text
    for name, texts in found.items():
        if any(texts.values()):
            yield line_of(name, texts.get("1", ""), texts.get("2", ""))


PAGES = {
    "README.md": {"speed": speed_lines},
    "docs/performance.md": {"counts": count_lines, "behind": behind_lines},
}
"""What stands in a page between `<!-- NAME -->` and `<!-- /NAME -->`."""


def pages(run):
    """The pages as they are to be: {path: text}."""
    for page, parts in PAGES.items():
        text = (ROOT / page).read_text()
        for mark, made in parts.items():
            start, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
            new = start + "\n".join(made(run)) + "\n" + end
            before, _, rest = text.partition(start)
            _, _, after = rest.partition(end)
            if not after:
                raise SystemExit(f"{page} has no {start.strip()} ... {end}")
            text = before + new + after
        yield ROOT / page, text


# The figures

COLORS = {"float32": "#1f6fb4", "float64": "#7fb6dd"}
SLOWER = "#c8412f"


def draw(run, folder):
    """A figure per number of threads: the ratios, cell by cell, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text as text
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    for threads in dict.fromkeys(row["threads"] for row in run.rows):
        rows = run.of(threads)
        ops = list(dict.fromkeys(row["op"] for row in rows))
        sizes = [len(run.of(threads, op=op)) for op in ops]
        figure, axes = plt.subplots(
            len(ops),
            1,
            figsize=(9, 0.17 * len(rows) + 0.6 * len(ops)),
            height_ratios=sizes,
            layout="constrained",
            sharex=True,
        )
        mean = geometric_mean([float(row["ratio"]) for row in rows])
        figure.suptitle(
            f"Time of the fastest peer over the time of csoftmax, {plural(int(threads))}: {mean:.2f} in the geometric "
            f"mean of {len(rows)} cells\n{run.about}. Right of 1 csoftmax is faster.",
            fontsize=8,
            wrap=True,
        )
        for axis, op in zip(axes, ops, strict=True):
            group = run.of(threads, op=op)
            for place, row in enumerate(group):
                ratio = float(row["ratio"])
                axis.barh(place, ratio - 1, left=1, color=COLORS[row["dtype"]] if ratio >= 1 else SLOWER)
                axis.text(max(ratio, 1) * 1.03, place, f"{ratio:.2f} {row['best_peer']}", va="center", fontsize=6)
            labels = [f"{shape_of(row)} {row['kind']} {row['dtype']}" for row in group]
            axis.set_yticks(range(len(group)), labels, fontsize=6)
            axis.set_ylim(len(group) - 0.4, -0.6)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:g}")
            axis.axvline(1, color="black", linewidth=1)
            axis.axvline(FASTER, color="#999999", linewidth=0.8, linestyle=":", zorder=0)
            axis.set_title(NAMES.get(op, op), fontsize=8, loc="left")
        keys = [Patch(color=color, label=label) for label, color in (COLORS | {"slower": SLOWER}).items()]
        figure.legend(handles=keys, loc="outside lower left", ncols=3, fontsize=7, frameon=False)
        path = folder / f"{run.name}-{plural(int(threads)).replace(' ', '-')}.svg"
        figure.savefig(path)
        plt.close(figure)
        print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--figures", type=Path, metavar="FOLDER")
    parser.add_argument("--keep", nargs=2, metavar=("RUN.csv", "NAME"))
    parser.add_argument("--about", default="", metavar="TEXT", help="the CPU, the commit, and what else is to be known")
    asked = parser.parse_args()
    if asked.keep:
        print(keep(Path(asked.keep[0]), asked.keep[1], asked.about))
    elif asked.figures:
        asked.figures.mkdir(parents=True, exist_ok=True)
        draw(last_kept(), asked.figures)
    elif asked.check:
        stale = [str(path.relative_to(ROOT)) for path, text in pages(last_kept()) if path.read_text() != text]
        sys.exit(f"not what docs/benchmarks gives: {', '.join(stale)}" if stale else 0)
    else:
        for path, text in pages(last_kept()):
            path.write_text(text)


if __name__ == "__main__":
    main()
