"""csoftmax.torch beside PyTorch's own losses, forward and backward on CPU tensors, and the losses that they find.

    python bench/autograd.py [--quick] [--threads N]

Needs torch and rich. F.linear_cross_entropy is timed where PyTorch has it.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

import csoftmax
import csoftmax.torch as ct

SHAPES = [(64, 10), (1024, 1000), (512, 128256)]  # rows, classes
FEATURES = {10: 32, 1000: 256, 128256: 64}
SECONDS, FEWEST, MOST = 1, 3, 2001  # of rounds per line
HEADINGS = ["forward and backward", "dtype", "rows, classes", "PyTorch", "csoftmax", "ratio", "losses"]


def of_logits(function, x, target):
    x.grad = None
    loss = function(x, target)
    loss.backward()
    return loss.item()


def of_layer(function, x, w, target):
    x.grad = w.grad = None
    loss = function(x, w, target)
    loss.backward()
    return loss.item()


def whole(x, w, target):
    """The loss of a linear layer as most models compute it."""
    return F.cross_entropy(x @ w.T, target)


def tensor(*shape, dtype, scale=1.0):
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(0))).to(dtype).requires_grad_()


def cases(shapes, dtype):
    """(name, shape, statement of PyTorch, that of csoftmax), with the inputs bound."""
    linear = getattr(F, "linear_cross_entropy", None)
    for rows, classes in shapes:
        target = torch.arange(rows) * 7919 % classes
        x = tensor(rows, classes, dtype=dtype)
        yield (
            "cross_entropy",
            (rows, classes),
            *(lambda f=f, x=x, target=target: of_logits(f, x, target) for f in (F.cross_entropy, ct.cross_entropy)),
        )
        layer = tensor(rows, FEATURES[classes], dtype=dtype), tensor(classes, FEATURES[classes], dtype=dtype, scale=0.1)
        ours = ct.linear_cross_entropy
        for name, theirs in (("linear, beside the whole logits", whole), ("linear_cross_entropy", linear)):
            if theirs is not None:
                yield (
                    name,
                    (rows, classes),
                    *(lambda f=f, layer=layer, target=target: of_layer(f, *layer, target) for f in (theirs, ours)),
                )


def measure(statements, seconds):
    """(losses, medians in seconds) of statements that take turns."""
    losses, times, began = [run() for run in statements], [[] for _ in statements], time.perf_counter()
    while len(times[0]) < FEWEST or (time.perf_counter() - began < seconds and len(times[0]) < MOST):
        for run, taken in zip(statements, times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return losses, [statistics.median(taken) for taken in times]


def shown(seconds):
    return f"{1e6 * seconds:.1f} µs" if seconds < 1e-3 else f"{1e3 * seconds:.4g} ms"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="without the largest shape, 0.5 s a line")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    csoftmax.set_num_threads(arguments.threads)
    shapes, seconds = (SHAPES[:2], 0.5) if arguments.quick else (SHAPES, SECONDS)
    threads = f"{arguments.threads} thread" + "s" * (arguments.threads > 1)
    columns = (Column(h, justify="right", no_wrap=True) for h in HEADINGS)
    table = Table(*columns, title=f"PyTorch {torch.__version__}, {threads}")
    lines = [(d, *case) for d in (torch.float32, torch.bfloat16) for case in cases(shapes, d)]
    for dtype, name, shape, theirs, ours in track(lines, "timing", transient=True):
        losses, (t, c) = measure([theirs, ours], seconds)
        kind = str(dtype).removeprefix("torch.")
        table.add_row(name, kind, str(shape), shown(t), shown(c), f"{t / c:.2f}", " ".join(f"{v:.7g}" for v in losses))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
