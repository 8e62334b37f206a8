"""How a peer is measured: over a number of repeats of its own, or turn by turn when a benchmark asks.

With --serve a script first prints {"peer": NAME} and then reads lines: "step" does the work once and prints
{"seconds": S, "peakBytes": P}; anything else, or the end of input, ends it.
"""
import json
import platform
import resource
import statistics
import sys
import time

import torch


def peer_name(*modules) -> str:
    """Which build of what: every module's version, and the library that multiplies matrices for torch."""
    blas = "MKL" if torch.backends.mkl.is_available() else "OpenBLAS" if "openblas" in torch.__config__.show().lower() else "other BLAS"
    return ", ".join([*(f"{module.__name__} {module.__version__}" for module in (*modules, torch)), blas])


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def timed(work) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def serve(work, name: str) -> None:
    print(json.dumps({"peer": name}), flush=True)
    for line in sys.stdin:
        if line.strip() != "step":
            break
        print(json.dumps({"seconds": timed(work), "peakBytes": peak_bytes()}), flush=True)


def measure(work, name: str, repeats: int, warm_ups: int, **facts) -> None:
    """Prints one JSON line; the first `warm_ups` calls are timed but not counted."""
    seconds = [timed(work) for _ in range(warm_ups + repeats)][warm_ups:]
    print(json.dumps({"peer": name, "seconds": statistics.median(seconds), "minSeconds": min(seconds), "allSeconds": [round(one, 6) for one in seconds], "peakBytes": peak_bytes(), **facts}))
