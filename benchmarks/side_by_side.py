"""Shared by the scripts here: timing in turns, new processes, medians and ratios, result files.

Only the standard library is imported at the top. ``start.py`` measures the peak memory of the processes it starts, and
on Linux a child's peak starts at its parent's size, so the parent has to stay small.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
WARM_UP_SECONDS = 0.3


class ChildError(Exception):
    """A child process failed; the message is the last line it printed."""


def run(name: str, title: str, measure: Callable[[bool], Row], child: Callable[[Row], Any] | None = None) -> None:
    """The command line of every script: ``[--quick]``, and ``--child`` for the processes it starts itself.

    ``measure(quick)`` returns what goes to ``results/NAME.json``; its ``"table"`` and ``"targets"`` are printed too.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="measure briefly and write no results")
    parser.add_argument("--child", nargs=2, metavar=("REQUEST", "ANSWER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child and child:
        answer = child(json.loads(given.child[0]))
        Path(given.child[1]).write_text(json.dumps(answer), encoding="utf-8")
        return
    started = time.time()
    result = measure(given.quick)
    from edgedigits.benchmark.machine import describe  # late: it imports NumPy
    from edgedigits.system.files import write_text

    date = time.strftime("%Y-%m-%d", time.localtime(started))
    facts = {"title": title, "date": date, "command": f"python benchmarks/{name}.py", "machine": describe(), **result}
    print(result["table"])
    for line in result.get("targets", ()):
        print(line)
    if given.quick:
        print("quick: nothing was written")
        return
    target = RESULTS / f"{name}.json"
    write_text(target, json.dumps(facts, indent=2) + "\n")
    print(f"wrote benchmarks/results/{target.name}")


def in_child(script: str, request: Row) -> Any:
    """Run a script's ``child(request)`` in a new process and return its result; its output is discarded.

    Raises:
        ChildError: the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, script, "--child", json.dumps(request), str(answer)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no error message"]
            errors = [line for line in lines if "Error" in line.partition(":")[0]]  # native code prints after it
            raise ChildError(f"status {done.returncode}: {(errors or lines)[-1]}")
        return json.loads(answer.read_text(encoding="utf-8"))


def in_turns(names: Iterable[str], rounds: int, seed: int = 0) -> Iterable[tuple[int, str]]:
    """(round, name): every name once per round, each round in random order; progress on standard error."""
    shuffle = random.Random(seed).shuffle
    listed = list(names)
    for number in range(rounds):
        shuffle(listed)
        for name in listed:
            progress(f"round {number + 1} of {rounds}: {name}")
            yield number, name
    progress("")


def progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)


def loop_ns(call: Callable[[FloatArray], object], images: Sequence[FloatArray]) -> float:
    """Mean nanoseconds of one call over a block; the clock is read twice a block, so its own cost does not show."""
    start = time.perf_counter_ns()
    for image in images:
        call(image)
    return (time.perf_counter_ns() - start) / len(images)


def time_blocks(
    blocks: Mapping[str, Callable[[Sequence[FloatArray]], float]],
    images: Sequence[FloatArray],
    seconds: float,
    seed: int,
    block_seconds: float = 0.0005,
) -> dict[str, list[float]]:
    """Time rivals in one process in turns, block by block, the same images for each in a round.

    Args:
        blocks: by name, images -> mean nanoseconds of one call, such as :func:`loop_ns` of a call.
        seconds: in total, without the warm-up.
        block_seconds: the duration of the fastest rival's block; short, so that a pause of the machine affects few.

    Returns:
        The blocks' means by name, nanoseconds; the nth of each is from the same round.
    """
    quickest = float("inf")
    for block in blocks.values():
        until = time.perf_counter() + WARM_UP_SECONDS
        quickest = min(quickest, block(images[:1]))
        while time.perf_counter() < until:
            quickest = min(quickest, block(images[:10]))
    size = max(1, min(len(images) // 2, int(block_seconds * 1e9 / quickest)))
    choose = random.Random(seed)
    names = list(blocks)
    found: dict[str, list[float]] = {name: [] for name in names}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not found[names[0]]:
        at = choose.randrange(len(images) - size + 1)
        chosen = images[at : at + size]
        choose.shuffle(names)
        for name in names:
            found[name].append(blocks[name](chosen))
    return found


def shuffled_images(x: FloatArray, seed: int) -> list[FloatArray]:
    """The rows of (m, n) as separate arrays in random order, like images from a camera."""
    order = list(range(len(x)))
    random.Random(seed).shuffle(order)
    return [x[i].copy() for i in order]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over the pairs of ours / theirs; the runs of a pair are adjacent, so a slow minute affects both."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(medians: Sequence[float]) -> float:
    """The spread of the windows' medians: (largest - smallest) / median."""
    return (max(medians) - min(medians)) / statistics.median(medians)


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; every column but the first is aligned to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def at_most(what: str, value: float, limit: float) -> str:
    return f"{'met' if value <= limit else 'MISSED'}: {what} {value:.4g}, at most {limit:g} wanted"


def at_least(what: str, value: float, limit: float) -> str:
    return f"{'met' if value >= limit else 'MISSED'}: {what} {value:.4g}, at least {limit:g} wanted"


def clean_environment() -> dict[str, str]:
    """A user's environment: compiled modules are kept, and TensorFlow logs errors only."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    return {**kept, "TF_CPP_MIN_LOG_LEVEL": "3"}
