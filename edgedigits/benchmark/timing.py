"""The child's side of a benchmark: in a process of its own, nothing but the call between two readings of the clock."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgedigits.benchmark.percentiles import Distribution, Samples
from edgedigits.bundle.bundle import Bundle
from edgedigits.runtimes.tensors import FloatArray

WARM_UP_CALLS, WARM_UP_SECONDS = 10, 0.5
BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_CHUNK = 256


def child_window(request: dict[str, Any]) -> dict[str, Any]:
    """One window of one row; the distribution of whole calls is saved to ``request["out"]`` as (2, k) int64.

    ``request["more"]`` asks for the batch sizes and thread counts as well, after the window.
    """
    from edgedigits.classifier import Classifier

    bundle = Bundle.again(request)
    x = np.load(request["inputs"], mmap_mode="r", allow_pickle=False)
    images = _shuffled(x, request["seed"])
    seconds = request["min_seconds"]
    with Classifier(bundle, request["artifact"], request["runtime"], request["threads"]) as classifier:
        warm_up(classifier.logits, images)
        calls = Distribution.of(time_calls(classifier.logits, images, seconds))
        invokes = Distribution.of(time_invokes(classifier.session.invoke, seconds / 10))
        batch = _batches(classifier.logits, np.ascontiguousarray(x)) if request["more"] else {}
    np.save(request["out"], np.stack([calls.values, calls.counts]))
    return {
        "invoke_samples": invokes.samples,
        "invoke_p50_ns": invokes.percentile(50),
        "timer_ns": Distribution.of(time_nothing()).percentile(50),
        "batch_ns": batch,
        "threads_p50_ns": _threads(bundle, request, images, seconds / 5) if request["more"] else {},
    }


def child_start(request: dict[str, Any]) -> dict[str, Any]:
    """A cold start, split: ``imports``, ``load``, ``first`` inference in nanoseconds, and the peak memory in bytes.

    ``started_ns`` is when this code began, on the clock that all processes share, so that the parent can tell what the
    interpreter itself took.
    """
    from edgedigits.runtimes.table import RUNTIMES

    started = request["child_started_ns"]
    from importlib import import_module

    import_module(RUNTIMES[request["runtime"]].package)
    if RUNTIMES[request["runtime"]].package in ("ai_edge_litert", "tflite_runtime"):
        import_module(f"{RUNTIMES[request['runtime']].package}.interpreter")
    from edgedigits.classifier import Classifier

    imported = time.perf_counter_ns()
    with Classifier(Bundle.again(request), request["artifact"], request["runtime"]) as classifier:
        loaded = time.perf_counter_ns()
        classifier.logits(np.zeros(classifier.session.input.shape, np.float32))
        answered = time.perf_counter_ns()
    return {
        "started_ns": started,
        "imports_ns": imported - started,
        "load_ns": loaded - imported,
        "first_ns": answered - loaded,
        "peak_rss_bytes": peak_memory(),
    }


def child_sustained(request: dict[str, Any]) -> dict[str, Any]:
    """One point of a sustained run: ``p50_ns`` and ``samples`` over ``request["min_seconds"]``, already warm."""
    from edgedigits.classifier import Classifier

    bundle = Bundle.again(request)
    images = _shuffled(np.load(request["inputs"], mmap_mode="r", allow_pickle=False), request["seed"])
    with Classifier(bundle, request["artifact"], request["runtime"], request["threads"]) as classifier:
        calls = Distribution.of(time_calls(classifier.logits, images, request["min_seconds"]))
    return {"samples": calls.samples, "p50_ns": calls.percentile(50)}


def peak_memory() -> int | None:
    """This process's peak resident set, bytes; None where the system does not tell.

    On Linux getrusage would begin at the peak of the process that started this one, so the kernel's own mark is read.
    """
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def warm_up(call: Callable[[Any], object], images: Sequence[FloatArray]) -> None:
    """At least 10 calls and half a second, untimed: caches fill, clocks rise."""
    until = time.perf_counter() + WARM_UP_SECONDS
    done = 0
    while done < WARM_UP_CALLS or time.perf_counter() < until:
        call(images[done % len(images)])
        done += 1


def time_calls(call: Callable[[Any], object], images: Sequence[FloatArray], min_seconds: float) -> Samples:
    """Time single calls for at least that long, going round the images; (samples,) int64 nanoseconds, in order."""
    clock = time.perf_counter_ns
    until = clock() + int(min_seconds * 1e9)
    samples = array("q")
    at = 0
    while clock() < until:
        for image in [images[(at + i) % len(images)] for i in range(_CHUNK)]:
            start = clock()
            call(image)
            samples.append(clock() - start)
        at += _CHUNK
    return np.array(samples, dtype=np.int64)


def time_invokes(invoke: Callable[[], object], min_seconds: float) -> Samples:
    """As :func:`time_calls`, for a call without arguments."""
    clock = time.perf_counter_ns
    until = clock() + int(min_seconds * 1e9)
    samples = array("q")
    while clock() < until:
        for _ in range(_CHUNK):
            start = clock()
            invoke()
            samples.append(clock() - start)
    return np.array(samples, dtype=np.int64)


def time_nothing(readings: int = 10_000) -> Samples:
    """What two readings of the clock with nothing between them show: the timer's own cost, part of every sample."""
    clock = time.perf_counter_ns
    samples = array("q")
    for _ in range(readings):
        start = clock()
        samples.append(clock() - start)
    return np.array(samples, dtype=np.int64)


def _shuffled(x: FloatArray, seed: int) -> list[FloatArray]:
    """Every image as an array of its own, in an order that the seed fixes."""
    return [np.array(x[i]) for i in np.random.default_rng(seed).permutation(len(x))]


def _batches(call: Callable[[Any], object], x: FloatArray, repeats: int = 5) -> dict[str, int]:
    """Batch size -> median nanoseconds of one call with that many images, after one call to warm up."""
    found = {}
    for size in (size for size in BATCHES if size <= len(x)):
        call(x[:size])
        taken = []
        for _ in range(repeats):
            start = time.perf_counter_ns()
            call(x[:size])
            taken.append(time.perf_counter_ns() - start)
        found[str(size)] = int(np.median(taken))
    return found


def _threads(bundle: Bundle, request: dict[str, Any], images: Sequence[FloatArray], seconds: float) -> dict[str, int]:
    """Thread count -> median nanoseconds of one image, for 1, 2, 4 .. the machine's cores."""
    import os

    from edgedigits.classifier import Classifier

    found = {}
    cores = os.cpu_count() or 1
    for count in sorted({1, cores, *(1 << i for i in range(cores.bit_length()) if 1 << i <= cores)}):
        with Classifier(bundle, request["artifact"], request["runtime"], count) as classifier:
            time_calls(classifier.logits, images, seconds / 4)
            found[str(count)] = Distribution.of(time_calls(classifier.logits, images, seconds)).percentile(50)
    return found
