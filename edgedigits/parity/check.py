"""Parity: does every artifact, in every runtime and on every kernel set, answer exactly as the trained model did?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np

from edgedigits.bundle.bundle import Artifact, Bundle
from edgedigits.bundle.dataset import Labels
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.parity import metrics
from edgedigits.parity.result import Flip, ParityReport, ParityRow
from edgedigits.parity.rounding import identify_rounding
from edgedigits.runtimes.table import RUNTIMES, runtime_info
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.isolation import Outcome, run_all
from edgedigits.system.statistics import rate_upper_bound

_Combination: TypeAlias = "tuple[Artifact, str, str]"  # artifact, runtime, kernel set


def check_parity(
    bundle: Bundle,
    *,
    artifacts: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    kernels: Sequence[str] = (),
    allow_mismatches: int = 0,
    batch: int = 1,
    workers: int = 1,
    unseen: Path | None = None,
    timeout: float = 300.0,
    memory_bytes: int | None = None,
    on_row: Callable[[ParityRow], None] = lambda row: None,
) -> ParityReport:
    """Run every artifact x runtime x kernel set over all of the bundle's inputs, each in a process of its own.

    Args:
        artifacts, runtimes, kernels: restrict the rows; empty means all. A runtime named here must be installed.
        allow_mismatches: how many mismatches an int8 row may have; a float row may have none, ever.
        batch: images per call; a device mostly sees one at a time.
        workers: how many processes run at once.
        unseen: a folder with unseen.npz, to run on those digits instead; they are reported and gate nothing but a row
            that does not run.
        timeout: seconds for one row.
        memory_bytes: what one row may take of memory; None for its share of what there is.
        on_row: called with each row as it is done.

    Raises:
        RuntimeUnavailableError: a runtime that was named is not installed, or nothing at all could run.
        BundleError: a file of the bundle does not match its manifest.
    """
    if batch < 1:
        raise InputError(f"batch is {batch}; expected 1 or more")
    inputs = bundle.verify() or bundle.inputs()
    for name in runtimes:
        runtime_info(name).require()
    chosen = [bundle.artifact(name) for name in artifacts] or list(bundle.manifest.artifacts)
    plan = list(_plan(chosen, runtimes, kernels))
    if not plan:
        asked = f"{', '.join(runtimes) or 'the runtimes'} with kernels {', '.join(kernels) or 'any'}"
        raise RuntimeUnavailableError(
            f"nothing to run: none of {asked} "
            f"opens {', '.join(a.file for a in chosen)}; `edgedigits inspect` shows which runtimes do"
        )
    x, labels = inputs if unseen is None else _unseen(bundle, unseen)
    golden = bundle.golden(unseen is not None)
    allowed = allow_mismatches if unseen is None else len(golden)
    facts = [_facts(combination, golden, allowed) for combination in plan]
    rows: dict[int, ParityRow] = {}
    logits: dict[int, FloatArray] = {}
    with TemporaryDirectory() as folder:
        runner = _Runner(bundle, Path(folder), x, timeout, memory_bytes, workers)
        for number, (_, runtime, _) in enumerate(plan):
            if not RUNTIMES[runtime].installed:
                remedy = f"not installed; {RUNTIMES[runtime].install}"
                rows[number] = ParityRow(**facts[number], status="missing", message=remedy)
                on_row(rows[number])
        installed = [number for number in range(len(plan)) if number not in rows]
        for index, outcome, found in runner.run([plan[number] for number in installed], batch):
            number = installed[index]
            facts[number]["seconds"] = round(outcome.seconds, 3)
            if found is None:
                rows[number] = ParityRow(
                    **facts[number], status=outcome.status, signal=outcome.signal, message=outcome.message
                )
            else:
                rows[number] = _compare(plan[number][0], facts[number], found, golden, labels)
                logits[number] = found
            on_row(rows[number])
        for artifact in chosen:
            rows |= _rounding_of(artifact, plan, rows, logits, runner)
    done = tuple(rows[number] for number in range(len(plan)))
    if all(row.status == "missing" for row in done):
        installs = dict.fromkeys(RUNTIMES[row.runtime].install for row in done if row.runtime != "tensorflow")
        raise RuntimeUnavailableError(f"no runtime is installed, so nothing was checked; {' or '.join(installs)}")
    return ParityReport(str(bundle.path), len(golden), unseen is not None, done)


def _unseen(bundle: Bundle, folder: Path) -> tuple[FloatArray, Labels]:
    from edgedigits.pictures.normalization import to_rows

    images, labels = bundle.unseen(folder)
    return to_rows(images), labels


def _plan(
    artifacts: Sequence[Artifact], runtimes: Sequence[str], kernels: Sequence[str]
) -> Iterator[tuple[Artifact, str, str]]:
    for artifact in artifacts:
        for name in artifact.opened_by:
            if runtimes and name not in runtimes:
                continue
            info = RUNTIMES[name]
            sets = [k for k in info.kernels_for(artifact.quantized) if not kernels or k in kernels]
            for kernel_set in sets if info.installed else sets[:1]:  # a missing runtime is one row, not three
                yield artifact, name, kernel_set


def _facts(combination: _Combination, golden: FloatArray, allowed: int) -> dict[str, Any]:
    """What is known of a row before it runs; a float row may have no mismatch, ever."""
    artifact, runtime, kernels = combination
    return {
        "artifact": artifact.file,
        "runtime": runtime,
        "kernels": kernels,
        "images": len(golden),
        "version": RUNTIMES[runtime].version,
        "allowed": allowed if artifact.quantized else 0,
        "sha256": artifact.sha256,
    }


class _Runner:
    """Computes the logits of all inputs, each combination in a process of its own."""

    def __init__(
        self, bundle: Bundle, folder: Path, x: FloatArray, timeout: float, memory_bytes: int | None, workers: int
    ) -> None:
        self._request = {**bundle.request, "inputs": str(folder / "X.npy")}
        self._folder, self._images = folder, len(x)
        self._timeout, self._memory_bytes, self._workers = timeout, memory_bytes, workers
        np.save(folder / "X.npy", x)

    def run(self, plan: Sequence[_Combination], batch: int) -> Iterator[tuple[int, Outcome, FloatArray | None]]:
        """Yield the index, the outcome and the logits of each as it ends."""
        outs = [self._folder / f"{number}.npy" for number in range(len(plan))]
        tasks = [
            (
                "edgedigits.parity.worker:compute_logits",
                self._request
                | {"artifact": artifact.file, "runtime": runtime, "kernels": kernels, "batch": batch, "out": str(out)},
            )
            for (artifact, runtime, kernels), out in zip(plan, outs, strict=True)
        ]
        for number, outcome in run_all(tasks, self._timeout, self._memory_bytes, self._workers):
            yield number, outcome, np.load(outs[number], allow_pickle=False) if outcome.status == "ok" else None

    def run_oracle(self, artifact: Artifact, kernels: str) -> FloatArray | None:
        """The numpy runtime's logits; None where it cannot run the artifact."""
        if not RUNTIMES["numpy"].installed:
            return None
        ((_, _, logits),) = self.run([(artifact, "numpy", kernels)], self._images)
        return logits


def _rounding_of(
    artifact: Artifact,
    plan: Sequence[_Combination],
    rows: dict[int, ParityRow],
    logits: dict[int, FloatArray],
    runner: _Runner,
) -> dict[int, ParityRow]:
    """The artifact's int8 rows with ``arithmetic`` filled in; the numpy rows are kernel sets that are known already."""
    numbers = [n for n, (other, _, _) in enumerate(plan) if other is artifact]
    finite = [n for n in numbers if rows[n].min_lead_quanta is not None]
    if artifact.format != "tflite" or artifact.output.scale is None or not finite:
        return {}
    known = {plan[n][2]: logits.get(n) for n in numbers if plan[n][1] == "numpy"}
    names = identify_rounding(
        [logits[n] for n in finite], artifact.output.scale, known, partial(runner.run_oracle, artifact)
    )
    return {n: replace(rows[n], arithmetic=name) for n, name in zip(finite, names, strict=True)}


def _compare(
    artifact: Artifact,
    facts: dict[str, Any],
    logits: FloatArray,
    golden: FloatArray,
    labels: Labels,
) -> ParityRow:
    if logits.shape != golden.shape:
        shapes = f"logits of shape {logits.shape}, golden ones are {golden.shape}"
        return ParityRow(**facts, status="error", message=f"{shapes}; export the bundle again")
    finite = bool(np.isfinite(logits).all())  # JSON has no NaN, and a maximum over one says nothing
    difference = np.abs(logits.astype(np.float64) - golden)
    wrong = metrics.mismatched(logits, golden)
    facts |= {
        "status": "ok",
        "mismatches": len(wrong),
        "mismatched": tuple(wrong.tolist()),
        "ties": metrics.ties(logits),
        "max_abs_diff": float(difference.max()) if finite else None,
        "mean_abs_diff": float(difference.mean()) if finite else None,
        "message": "" if finite else "some logits are NaN or infinite",
        "errors": metrics.errors(logits, labels),
        "flip_rate_upper_95": rate_upper_bound(len(wrong), len(golden)),
        "accuracy_p": metrics.mcnemar(golden.argmax(axis=1) == labels, logits.argmax(axis=1) == labels),
    }
    if artifact.output.scale is not None and finite:
        scale = artifact.output.scale
        facts["min_lead_quanta"] = int(metrics.lead_quanta(logits, golden, scale).min())
        facts["ledger"] = _ledger(logits, golden, scale)
    return ParityRow(**facts)


def _ledger(logits: FloatArray, golden: FloatArray, scale: float) -> tuple[Flip, ...]:
    """Every image whose answer differs, or whose lead is at most the one quantum by which kernels differ."""
    answers, own = golden.argmax(axis=1), logits.argmax(axis=1)
    lead = metrics.leads(golden, answers) / scale
    own_lead = metrics.lead_quanta(logits, logits, scale)

    def flip(i: int) -> Flip:
        kind = {0: "tie", 1: "near-tie"}.get(int(own_lead[i]), "real")
        return Flip(i, int(answers[i]), int(own[i]), float(lead[i]), int(own_lead[i]), kind)

    return tuple(flip(i) for i in np.flatnonzero((answers != own) | (own_lead <= 1)).tolist())
