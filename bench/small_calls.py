"""Every documented kind of argument on ten numbers, one call each: none may take longer than the allowance.

`python bench/small_calls.py` prints a table and returns 1 if a call is above it; `--allowance` is in microseconds. The
last lines are a softmax of ten numbers beside `np.exp` of them, both with a new result.
"""

import argparse
import sys
import timeit

import numpy as np

import csoftmax

ALLOWANCE = 5.0
ROUNDS, CALLS = 30, 200


def arrays():
    """What the calls below are made of: ten numbers in each shape and dtype."""
    rng = np.random.default_rng(0)
    v = rng.standard_normal(10)
    x = v.reshape(2, 5).astype(np.float32)
    p = csoftmax.softmax(x)
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "np": np,
        **vars(csoftmax),
        "x": x,
        "p": p,
        "x8": v.reshape(2, 5),
        "x1": v,
        "flat": v.tolist(),
        "nested": x.tolist(),
        "targets": p.tolist(),
        "fortran": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=1)[:, ::2],
        "read_only": read_only,
        "i8": np.arange(10).reshape(2, 5),
        "i4": np.arange(10, dtype=np.int32).reshape(2, 5),
        "f2": x.astype(np.float16),
        "y": np.array([1, 3]),
        "y5": np.array([0, 1, 0, 1, 0]),
        "y4": np.array([1, 3], np.int32),
        "y_float": np.array([1.0, 3.0]),
        "s": np.array([0.5, 2.0]),
        "s4": np.array([0.5, 2.0], np.float32),
        "w": np.arange(1.0, 6.0),
        "index": np.array([[0, 1], [2, 3]]),
        "prob": np.array([[0.5, 0.5], [0.25, 0.75]]),
        "mask": np.array([[True, True, False, True, True]] * 2),
        "classes": np.array([True, True, False, True, True]),
        "column": np.array([[True], [False]]),
        "f4": np.float32(2),
        "t": np.array([0.5, 2.0]),
        "cube": v.reshape(1, 2, 5),
        "h": np.empty_like(x),
        "g": np.empty_like(x),
        "out": np.empty_like(x),
        "r": np.empty(2, np.float32),
        "jac": np.empty((2, 5, 5), np.float32),
    }


TEMPERATURES = "temperature=" + " | temperature=".join(("2", "f4", "t", "[0.5, 2.0]", "np.array(2.0)", "s4"))
MAPS = """
    x | x8 | x1 | f2 | i8 | i4 | flat | nested | fortran | strided | read_only | x, 0 | x, np.int64(1)
    x, axis=None | x, axis=(0, 1) | cube, axis=(0, 2) | x, dtype=np.float64 | x8, dtype='f4' | i8, dtype='f4'
    x, where=mask | x, where=classes | x, where=column | x, where=True | x, where=[True, True, False, True, True]
"""
LOSSES = f"""
    x, y | x, y4 | x, y_float | x, [1, 3] | x, (index, prob) | x, (index, prob.tolist()) | x, p | x, targets
    nested, [1, 3] | nested, targets | x1, 3 | flat, 3 | x1, np.int64(3) | x1, np.array(3) | x, y5, 0
    i8, y | f2, y | fortran, y | read_only, y | strided, y | cube, [[1, 3]]
    x, y, weight=w | x, y, weight=[1, 2, 3, 4, 5] | x, p, weight=w | x, y, sample_weight=s | x, y, sample_weight=s4
    x, y, sample_weight=2.0 | x, y, sample_weight=f4 | x, y, sample_weight=np.array(2.0)
    x, y, sample_weight=[0.5, 2] | x, y, ignore_index=np.int64(1) | x, y, ignore_index=None
    x, y, label_smoothing=0.1 | x, y, label_smoothing=np.float32(0.1) | x, y, z_loss=1e-4 | x, y, softcap=30
    x, y, reduction='none' | x, y, reduction='sum' | x, y, normalizer=7 | x, y, normalizer=f4
    x, y, {TEMPERATURES.replace(" | ", " | x, y, ")}
"""
PRODUCTS = f"""
    p, x | p, x8 | p, nested | targets, nested | p, i8 | fortran, fortran | fortran, x | p, x, 0 | x1, x1
    p, x, out=out | p, x, {TEMPERATURES.replace(" | ", " | p, x, ")}
"""
ARGUMENTS = {
    "softmax": f"{MAPS} x, out=out | x, out=x | x, {TEMPERATURES.replace(' | ', ' | x, ')}",
    "log_softmax": f"{MAPS} x, out=out | x, {TEMPERATURES.replace(' | ', ' | x, ')}",
    "logsumexp": f"""{MAPS} x, 1 | x, 1, keepdims=True | x, keepdims=True | x, 1, out=r
        x, 1, 0.5 | x, b=2 | x, b=f4 | x8, b=f4 | x, return_sign=True | x8, 1, return_sign=True""",
    "softmax_entropy": f"{MAPS} x, keepdims=True | x, {TEMPERATURES.replace(' | ', ' | x, ')}",
    "selective_log_softmax": f"""x, y | x, [1, 3] | x, index | x, index.tolist() | x1, 3 | nested, [1, 3]
        x, y, out=r | x, y, dtype='f8' | x, y, {TEMPERATURES.replace(" | ", " | x, y, ")}""",
    "cross_entropy": LOSSES,
    **dict.fromkeys(("softmax_vjp", "softmax_jvp", "log_softmax_vjp", "log_softmax_jvp"), PRODUCTS),
    "softmax_jacobian": f"""p | x1 | targets | fortran | i8 | p, 0 | p, out=jac
        p, {TEMPERATURES.replace(" | ", " | p, ")}""",
    "softmax_grad_hess": """x, y | x, [1, 3] | x, p | x, targets | nested, [1, 3] | fortran, y | i8, y
        x, y, sample_weight=s | x, y, sample_weight=2.0 | x, y, sample_weight=[1, 2]
        x, y, hessian='friedman' | x, y, eps=f4 | x, y, out=(g, h)""",
}
"""The arguments of the calls, lines of text, between bars."""


def calls():
    """The calls, as text."""
    for name, text in ARGUMENTS.items():
        for arguments in text.replace("\n", "|").split("|"):
            if arguments.strip():
                yield f"{name}({arguments.strip()})"
                if name == "cross_entropy":
                    yield f"{name}({arguments.strip()}, return_grad=True)"


def measure(call, names):
    """The least time of a call in microseconds."""
    timer = timeit.Timer(call, globals=names)
    return 1e6 * min(timer.repeat(ROUNDS, CALLS)) / CALLS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allowance", type=float, default=ALLOWANCE)
    allowance, names, above = parser.parse_args().allowance, arrays(), 0
    for call in calls():
        found = measure(call, names)
        above += found > allowance
        print(f"{found:7.2f} us  {'ABOVE' if found > allowance else '     '}  {call}")
    print(f"{above} calls above {allowance} us")
    names["x1_f4"] = names["x1"].astype("f4")
    for call in ("softmax(x1)", "np.exp(x1)", "softmax(x1_f4)", "np.exp(x1_f4)"):
        print(f"{measure(call, names):7.3f} us  {call}")
    return int(above > 0)


if __name__ == "__main__":
    sys.exit(main())
