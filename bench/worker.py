"""Times cells with a fixed number of threads; run.py starts it and reads JSON lines from it.

A process of its own because the environment and the CPU affinity that hold every library to that number of
threads must be set before the libraries start.
"""

import json
import os
import statistics
import sys

import latency
import machine
from cells import choose
from frameworks import Jax, OneDnn, OnnxRuntime, PyTorch, PyTorchAutograd
from peers import Csoftmax, Numba, NumPy, ScikitLearn, SciPy
from problem import Problem
from timing import Call, Limit, MatrixProducts, alternate

PEERS = (Csoftmax, PyTorch, OneDnn, PyTorchAutograd, Jax, OnnxRuntime, Numba, SciPy, ScikitLearn, NumPy)
REST = 0.05  # seconds with several threads: until those of the library before sleep, which spin for up to 30 ms
WARM_UP = 0.004  # and until a library's own are awake


def measure(cell, peers, threads, budget):
    """Everything about one cell, as run.py writes it down."""
    record = {"cell": cell.name, "threads": threads, "elements": cell.elements, "left out": {}, "calls": {}}
    ours = next((peer for peer in peers if isinstance(peer, Csoftmax)), None)
    if ours and (reason := ours.missing(cell)):
        return record | {"status": "not there yet", "reason": reason}
    problem, calls = Problem(cell), {}
    for peer in peers:
        if not peer.can(cell):
            continue
        try:
            call = Call(peer.job(problem))
            wrong = problem.disagreement(call.result())
        except Exception as failure:  # a peer's failure is a line of the report, not the end of the run
            wrong = f"{type(failure).__name__}: {failure}"[:300]
        if wrong:
            record["left out"][peer.name] = wrong
        else:
            calls[peer.name] = call
            record["calls"][peer.name] = call.job.call.strip()
    limit = (MatrixProducts if cell.op == "linear_cross_entropy" else Limit)(cell, threads)
    record["times"] = {}
    rest, warm_up = (REST, WARM_UP) if threads > 1 else (0, 0)
    for name, times in alternate(calls, limit, rest, warm_up, budget).items():
        low, middle, high = statistics.quantiles(times, n=4)
        record["times"][name] = {"seconds": middle, "q1": low, "q3": high, "rounds": len(times)}
    return record | {"status": "timed", "limit": limit.result()}


def start_peers(names, threads):
    """The peers that are installed, and {name: why not} for the others."""
    present, missing = [], {}
    for kind in PEERS:
        if names and kind is not Csoftmax and not any(name.lower() in kind.name.lower() for name in names):
            continue
        try:
            present.append(kind(threads))
        except Exception as failure:  # broken installations fail in many ways
            missing[kind.name] = f"{type(failure).__name__}: {failure}"[:300]
    return present, missing


def main():
    settings = json.loads(sys.argv[1])
    threads = settings["threads"]
    lines = os.fdopen(os.dup(1), "w", buffering=1)  # what libraries print must not get between the lines
    os.dup2(2, 1)

    def say(kind, value):
        print(json.dumps({kind: value}), file=lines)

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, machine.usable_cpus()[-threads:])
    peers, missing = start_peers(settings["peers"], threads)
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    say("peers", {"present": {peer.name: peer.version for peer in peers}, "missing": missing})
    machine.check_exp()
    say("abilities", machine.abilities(threads))
    if threads == 1 and settings["latency"]:
        say("latency", latency.measure(peers))
    for cell in choose(settings["quick"], settings["only"])[settings["skip"] :]:
        say("begin", cell.name)
        say("cell", measure(cell, peers, threads, settings["budget"]))
    if ours := next((peer for peer in peers if isinstance(peer, Csoftmax)), None):
        say("config", ours.module.show_config(mode="dicts"))


if __name__ == "__main__":
    main()
