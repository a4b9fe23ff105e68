"""The measuring loops, and the tasks that run them, each in its own process."""

from __future__ import annotations

import json
import os
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgedigits.benchmark.percentiles import Distribution
from edgedigits.bundle.bundle import Bundle
from edgedigits.runtimes.tensors import FloatArray

WARM_UP_CALLS, WARM_UP_SECONDS = 10, 0.5
BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
BATCH_REPEATS = 5
_CHUNK = 256  # calls between two checks of the time limit


def time_window(request: dict[str, Any]) -> dict[str, Any]:
    """Time one window of one row; the distribution of whole calls is saved to ``request["out"]`` as (2, k) int64.

    With ``request["more"]``, batch sizes and thread counts are timed after the window.
    """
    from edgedigits.classifier import Classifier

    bundle = Bundle.reopen(request)
    x = np.load(request["inputs"], mmap_mode="r", allow_pickle=False)
    images = shuffle_images(x, request["seed"])
    seconds = request["min_seconds"]
    with Classifier(bundle, request["artifact"], request["runtime"], request["threads"]) as classifier:
        warm_up(classifier.logits, images)
        calls = time_calls(classifier.logits, images, seconds)
        invokes = time_invokes(classifier.session.invoke, seconds / 10)
        batch_ns = _time_batches(classifier.logits, np.ascontiguousarray(x)) if request["more"] else {}
    np.save(request["out"], np.stack([calls.values, calls.counts]))
    clock = time.perf_counter_ns
    readings = np.array([(clock(), clock()) for _ in range(10_000)])
    return {
        "invoke_samples": invokes.samples,
        "invoke_p50_ns": invokes.percentile(50),
        "timer_ns": int(np.median(readings[:, 1] - readings[:, 0])),
        "batch_ns": batch_ns,
        "threads_p50_ns": _time_threads(bundle, request, images, seconds / 5) if request["more"] else {},
    }


def time_start(request: dict[str, Any]) -> dict[str, Any]:
    """Time a cold start up to the first inference. The parent computes the interpreter's time from ``started_ns``."""
    from edgedigits.runtimes.table import RUNTIMES

    started = request["child_started_ns"]
    from importlib import import_module

    package = RUNTIMES[request["runtime"]].package
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it when it is imported
    import_module(f"{package}.interpreter" if package in ("ai_edge_litert", "tflite_runtime") else package)
    from edgedigits.classifier import Classifier

    imported = time.perf_counter_ns()
    with Classifier(Bundle.reopen(request), request["artifact"], request["runtime"]) as classifier:
        loaded = time.perf_counter_ns()
        classifier.logits(np.zeros(classifier.session.input.shape, np.float32))
        finished = time.perf_counter_ns()
    return {
        "started_ns": started,
        "imports_ns": imported - started,
        "load_ns": loaded - imported,
        "first_ns": finished - loaded,
        "peak_rss_bytes": peak_memory(),
    }


def time_sustained(request: dict[str, Any]) -> dict[str, Any]:
    """Time one point of a sustained run, without warming up: ``p50_ns`` and the number of ``samples``."""
    from edgedigits.classifier import Classifier

    bundle = Bundle.reopen(request)
    images = shuffle_images(np.load(request["inputs"], mmap_mode="r", allow_pickle=False), request["seed"])
    with Classifier(bundle, request["artifact"], request["runtime"], request["threads"]) as classifier:
        calls = time_calls(classifier.logits, images, request["min_seconds"])
    return {"samples": calls.samples, "p50_ns": calls.percentile(50)}


def time_watch(request: dict[str, Any]) -> dict[str, Any]:
    """Time one row without a pause, until ``request["total_seconds"]`` are over or for ever if that is None.

    After every ``request["min_seconds"]`` a line with a JSON object is added to the file ``request["out"]``.
    """
    from edgedigits.classifier import Classifier

    bundle = Bundle.reopen(request)
    images = shuffle_images(np.load(request["inputs"], mmap_mode="r", allow_pickle=False), request["seed"])
    total = request["total_seconds"]
    with (
        Path(request["out"]).open("a", encoding="ascii") as out,
        Classifier(bundle, request["artifact"], request["runtime"], request["threads"]) as classifier,
    ):
        warm_up(classifier.logits, images)
        began = time.perf_counter()
        seconds = 0.0
        while total is None or seconds < total:
            length = request["min_seconds"] if total is None else min(request["min_seconds"], total - seconds)
            calls = time_calls(classifier.logits, images, length)
            seconds = time.perf_counter() - began
            point = {"seconds": seconds, "samples": calls.samples, "p50_ns": calls.percentile(50)}
            out.write(json.dumps(point) + "\n")
            out.flush()
    return {}


def peak_memory() -> int | None:
    """The peak resident set of this process in bytes; None on Windows."""
    if sys.platform == "linux":  # where getrusage starts at the peak of the parent process
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def warm_up(call: Callable[[Any], object], images: Sequence[FloatArray]) -> None:
    """Run at least 10 calls and half a second untimed, so that caches fill and clock speeds rise."""
    until = time.perf_counter() + WARM_UP_SECONDS
    done = 0
    while done < WARM_UP_CALLS or time.perf_counter() < until:
        call(images[done % len(images)])
        done += 1


def time_calls(call: Callable[[Any], object], images: Sequence[FloatArray], min_seconds: float) -> Distribution:
    """Time single calls in nanoseconds for at least ``min_seconds``, cycling through the images."""
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
    return Distribution.of(np.array(samples))


def time_invokes(invoke: Callable[[], object], min_seconds: float) -> Distribution:
    """Time the model alone; a loop of its own, because passing no image through :func:`time_calls` costs time."""
    clock = time.perf_counter_ns
    until = clock() + int(min_seconds * 1e9)
    samples = array("q")
    while clock() < until:
        for _ in range(_CHUNK):
            start = clock()
            invoke()
            samples.append(clock() - start)
    return Distribution.of(np.array(samples))


def shuffle_images(x: FloatArray, seed: int) -> list[FloatArray]:
    """The images in random order, each in an array of its own."""
    return [np.array(x[i]) for i in np.random.default_rng(seed).permutation(len(x))]


def _time_batches(call: Callable[[Any], object], x: FloatArray) -> dict[str, int]:
    """Batch size -> median nanoseconds of one call, after one call to warm up."""
    found = {}
    for size in (size for size in BATCHES if size <= len(x)):
        times = []
        for _ in range(1 + BATCH_REPEATS):
            start = time.perf_counter_ns()
            call(x[:size])
            times.append(time.perf_counter_ns() - start)
        found[str(size)] = int(np.median(times[1:]))
    return found


def _time_threads(
    bundle: Bundle, request: dict[str, Any], images: Sequence[FloatArray], seconds: float
) -> dict[str, int]:
    """Thread count -> median nanoseconds of one image, for 1, 2, 4 ... threads up to the number of cores."""
    from edgedigits.classifier import Classifier

    found = {}
    cores = os.cpu_count() or 1
    for count in sorted({cores, *(1 << i for i in range(cores.bit_length()))}):
        with Classifier(bundle, request["artifact"], request["runtime"], count) as classifier:
            time_calls(classifier.logits, images, seconds / 4)
            found[str(count)] = time_calls(classifier.logits, images, seconds).percentile(50)
    return found
