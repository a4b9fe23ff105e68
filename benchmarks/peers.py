"""Peers: the latency of one image in every library that can run this network, measured in turns.

Each window of each rival runs in a new process, since several of them cannot share one; the order within a round is
random. Before a rival is timed, its argmax on 500 images is compared with the golden logits of the trained Keras model.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivals import LITERT, MODEL, OURS, PREDICT, RIVALS, SESSION_RUN, dense_c, missing, weights_of
from side_by_side import (
    ChildError,
    Row,
    at_least,
    in_child,
    in_turns,
    loop_ns,
    markdown,
    run,
    shuffled_images,
    spread,
    time_blocks,
)

if TYPE_CHECKING:
    from rivals import Block, Call

    from edgedigits.bundle.bundle import Bundle

CHECKED = 500
TOOL = "litert-benchmark"


def child(request: Row) -> Any:
    """One window of one rival: check its predictions, then return the mean nanoseconds of each block."""
    from edgedigits import Bundle

    bundle = Bundle()
    if request["rival"] == "weights":
        return [w.tolist() for w in weights_of(bundle)]
    open_rival, _ = RIVALS[request["rival"]]
    if open_rival is not None:
        call = open_rival(bundle)
        return timed(bundle, call, partial(loop_ns, call), request)
    with dense_c(bundle) as (call, block):
        return timed(bundle, call, block, request)


def timed(bundle: Bundle, call: Call, block: Block, request: Row) -> Row:
    import numpy as np

    x, _ = bundle.inputs()
    golden = bundle.golden().argmax(axis=1)
    chosen = np.random.default_rng(0).permutation(len(x))[:CHECKED]
    wrong = sum(int(call(x[i]).argmax()) != int(golden[i]) for i in chosen)
    # The shipped int8 model may differ from Keras on a few images; `edgedigits parity` counts them.
    if wrong:
        raise AssertionError(f"{wrong} of {CHECKED} predictions differ from the trained model's")
    images = shuffled_images(x, request["seed"])
    blocks = time_blocks({"rival": block}, images, request["seconds"], request["seed"])["rival"]
    return {"blocks": blocks, "wrong": wrong}


def as_printed(bundle: Path) -> str | None:
    """The median that litert-benchmark itself prints for the float32 artifact; None where it is not installed."""
    tool = shutil.which(TOOL, path=str(Path(sys.executable).parent)) or shutil.which(TOOL)
    if tool is None:
        return None
    command = [tool, f"--model={bundle / MODEL}", "--num_runs=1000", "--warmup_runs=100"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    found = re.search(r"Inference \(median\): *(.*)", done.stdout)
    return found[1] if found else f"failed with status {done.returncode}"


def measure(quick: bool) -> Row:
    absent = missing()
    windows: dict[str, list[Row]] = {name: [] for name in RIVALS if name not in absent}
    failed: dict[str, str] = {}
    rounds = 1 if quick else 7
    for number, name in in_turns(list(windows), rounds):
        try:
            request = {"rival": name, "seconds": 0.5 if quick else 3.0, "seed": number}
            windows[name].append(in_child(__file__, request))
        except ChildError as error:
            failed[name] = str(error)
    medians = {
        name: statistics.median(ns for window in found for ns in window["blocks"])
        for name, found in windows.items()
        if found and name not in failed
    }
    if OURS not in medians:
        raise SystemExit(f"{OURS}: {failed.get(OURS) or absent[OURS]}")
    rows = [
        {
            "rival": name,
            "median_ns": round(ns, 1),
            "times_ours": round(ns / medians[OURS], 3),
            "window_median_ns": [round(statistics.median(w["blocks"]), 1) for w in windows[name]],
            "spread_of_windows": round(spread([statistics.median(w["blocks"]) for w in windows[name]]), 4),
            "wrong_of_500": max(w["wrong"] for w in windows[name]),
        }
        for name, ns in sorted(medians.items(), key=lambda item: item[1])
    ]
    from edgedigits.bundle.bundle import DEFAULT_BUNDLE  # late, like all that imports NumPy

    printed = as_printed(DEFAULT_BUNDLE)
    table = markdown(
        ("one image at a time", "median, ns", f"times {OURS}", "spread of the windows", "wrong of 500"),
        (
            (
                row["rival"],
                f"{row['median_ns']:,.0f}",
                f"{row['times_ours']:.2f}",
                f"{row['spread_of_windows']:.0%}",
                row["wrong_of_500"],
            )
            for row in rows
        ),
    )
    notes = [f"{TOOL} itself prints, for the same file: {printed or 'not installed; ' + LITERT[1]}"]
    notes += [f"missing: {name}: {how}" for name, how in absent.items()]
    notes += [f"failed: {name}: {why}" for name, why in failed.items()]
    targets = []
    for name, times in ((SESSION_RUN, 3.5), (PREDICT, 5000)):
        if name in medians:
            targets.append(at_least(f"times faster than {name}", medians[name] / medians[OURS], times))
    return {"rounds": rounds, "rows": rows, TOOL: printed, "table": table, "targets": [*targets, *notes]}


if __name__ == "__main__":
    run("peers", "Peers: one image in everything that runs this network", measure, child)
