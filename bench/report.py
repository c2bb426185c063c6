"""What a run found: the table, the summary, the CSV and the JSON."""

import csv
import json
import math
import statistics
from dataclasses import asdict
from itertools import zip_longest

import latency
import memory
from cells import every_cell
from peers import Csoftmax
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

CELLS = {cell.name: cell for cell in every_cell()}
OURS = Csoftmax.name
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


def latency_table(found):
    view = titled("One call on ten numbers, result allocated: ns")
    for heading in ("dtype", "shape", "what", "ns", "target"):
        view.add_column(heading, justify="right" if heading == "ns" else "left")
    for entry in found:
        dtype, shape, what, ns = entry["dtype"], entry["shape"], entry["what"], entry["ns"]
        if what == latency.YARDSTICK:
            most = ns
        met = judged(ns <= most) if what.startswith(OURS) else ""
        view.add_row(dtype, str(tuple(shape)), what, f"{ns:.0f}", met)
    return view


def memory_table(found):
    view = titled(f"Peak extra memory of one call with out=, {plural(found[0]['threads'])}: KB")
    for heading in ("", memory.PEERS[0], "allowed", "target", *memory.PEERS[1:]):
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
