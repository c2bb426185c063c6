"""Peak extra memory of one call, each in a process of its own.

`python bench/memory.py PEER CELL THREADS` is that process; it prints the bytes.
"""

import os
import subprocess
import sys
from pathlib import Path

from cells import ITEMSIZE, OPERATIONS, Cell

PEERS = ("csoftmax", "PyTorch")  # both take out=; what they need beyond it is what is measured


def cells():
    shapes = {"jacobian": (2048, 100), "linear_cross_entropy": (4096, 1024, 128256)}
    found = [Cell(op, "float32", shapes.get(op, (4096, 1000))) for op in OPERATIONS]
    return found + [Cell(op, "float32", (1000, 4096), axis=0) for op in ("softmax", "cross_entropy")]


def allowed(cell, threads):
    if cell.op == "linear_cross_entropy":
        return max(2**26, cell.elements * ITEMSIZE[cell.dtype] // 8)
    return threads * 2**20 + 16 * cell.rows


def measure(threads, environment):
    """One record per peer and cell."""
    for cell in cells():
        for peer in PEERS:
            command = [sys.executable, __file__, peer, cell.name, str(threads)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            record = {"cell": cell.name, "peer": peer, "threads": threads, "allowed": allowed(cell, threads)}
            if done.returncode:
                yield record | {"failed": (done.stderr.strip().splitlines() or ["died"])[-1]}
            else:
                yield record | {"bytes": int(done.stdout)}


def status(field):
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} here")


def main(peer_name, cell_name, threads):
    from problem import Problem
    from worker import PEERS as KINDS

    cell = next(c for c in cells() if c.name == cell_name)
    peer = next(kind for kind in KINDS if kind.name == peer_name)(threads)
    if peer.name == "csoftmax" and peer.missing(cell):
        raise SystemExit("not there yet")
    small = peer.job(Problem(cell.tiny))
    exec(small.call, small.names)  # thread pools, lazily loaded code
    job = peer.job(Problem(cell))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = status("VmRSS")
    exec(job.call, job.names)
    print(max(0, status("VmHWM") - before))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
