"""Parity: does every artifact, in every runtime and on every kernel set, answer exactly as the trained model did?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgedigits import metrics
from edgedigits.bundle import Artifact, Bundle
from edgedigits.child import run_in_child
from edgedigits.dataset import Labels
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.runtimes import RUNTIMES, runtime_info, runtimes_for
from edgedigits.tensors import FloatArray


@dataclass(frozen=True)
class ParityRow:
    """One artifact in one runtime on one kernel set.

    Attributes:
        status: ``"ok"`` (it ran), ``"missing"`` (not installed), ``"error"``, ``"crashed"`` or ``"timeout"``.
        mismatches, mismatched: how many images, and which, have another argmax than the trained model.
        ties: images with more than one largest logit.
        max_abs_diff, mean_abs_diff: of the logits against the golden ones.
        min_lead_quanta: int8 only: the smallest lead of the trained model's class, in output quanta; 0 is a tie.
        errors: images whose argmax is not their label.
        seconds: what the child took, start included.
        allowed: how many mismatches the gate lets pass.
    """

    artifact: str
    runtime: str
    kernels: str
    status: str
    images: int
    version: str | None = None
    mismatches: int | None = None
    mismatched: tuple[int, ...] = ()
    ties: int | None = None
    max_abs_diff: float | None = None
    mean_abs_diff: float | None = None
    min_lead_quanta: int | None = None
    errors: int | None = None
    seconds: float | None = None
    signal: str | None = None
    message: str = ""
    allowed: int = 0

    @property
    def passed(self) -> bool:
        """A missing runtime does not fail; anything else must have run and stay within the gate."""
        if self.status == "missing":
            return True
        return self.status == "ok" and self.mismatches is not None and self.mismatches <= self.allowed


@dataclass(frozen=True)
class ParityReport:
    """Every row, and the verdict."""

    bundle: str
    images: int
    rows: tuple[ParityRow, ...] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """Whether at least one row ran, and every row that could run passed."""
        return any(row.status != "missing" for row in self.rows) and all(row.passed for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The report in plain types."""
        rows = [{**asdict(row), "mismatched": list(row.mismatched), "passed": row.passed} for row in self.rows]
        return {"passed": self.passed, "bundle": self.bundle, "images": self.images, "rows": rows}


def check_parity(
    bundle: Bundle,
    *,
    artifacts: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    kernels: Sequence[str] = (),
    allow_mismatches: int = 0,
    batch: int = 1,
    workers: int = 1,
    timeout: float = 300.0,
    on_row: Callable[[ParityRow], None] = lambda row: None,
) -> ParityReport:
    """Run every artifact x runtime x kernel set over all of the bundle's inputs, each in a process of its own.

    Args:
        artifacts, runtimes, kernels: restrict the rows; empty means all. A runtime named here must be installed.
        allow_mismatches: how many mismatches an int8 row may have; a float row may have none, ever.
        batch: images per call; a device mostly sees one at a time.
        workers: how many processes run at once.
        timeout: seconds for one row.
        on_row: called with each row as it is done.

    Raises:
        RuntimeUnavailableError: a runtime that was named is not installed, or nothing at all could run.
        BundleError: a file of the bundle does not match its manifest.
    """
    if batch < 1:
        raise InputError(f"batch is {batch}; expected 1 or more")
    bundle.verify()
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
    (_, labels), golden = bundle.inputs(), bundle.golden()

    def row(step: tuple[Artifact, str, str]) -> ParityRow:
        done = _row(bundle, *step, golden=golden, labels=labels, batch=batch, timeout=timeout, allowed=allow_mismatches)
        on_row(done)
        return done

    with ThreadPoolExecutor(workers) as pool:
        rows = tuple(pool.map(row, plan))
    if all(r.status == "missing" for r in rows):
        installs = dict.fromkeys(RUNTIMES[r.runtime].install for r in rows if r.runtime != "tensorflow")
        raise RuntimeUnavailableError(f"no runtime is installed, so nothing was checked; {' or '.join(installs)}")
    return ParityReport(str(bundle.path), len(golden), rows)


def _plan(
    artifacts: Sequence[Artifact], runtimes: Sequence[str], kernels: Sequence[str]
) -> Iterator[tuple[Artifact, str, str]]:
    for artifact in artifacts:
        for name in runtimes_for(artifact.format):
            if runtimes and name not in runtimes:
                continue
            info = RUNTIMES[name]
            sets = [k for k in info.kernels_for(artifact.quantized) if not kernels or k in kernels]
            for kernel_set in sets if info.installed else sets[:1]:  # a missing runtime is one row, not three
                yield artifact, name, kernel_set


def _row(
    bundle: Bundle,
    artifact: Artifact,
    runtime: str,
    kernels: str,
    *,
    golden: FloatArray,
    labels: Labels,
    batch: int,
    timeout: float,
    allowed: int,
) -> ParityRow:
    info = RUNTIMES[runtime]
    facts: dict[str, Any] = {"artifact": artifact.file, "runtime": runtime, "kernels": kernels, "images": len(golden)}
    facts["version"] = info.version
    if not info.installed:
        return ParityRow(**facts, status="missing", message=f"not installed; {info.install}")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="edgedigits-") as folder:
        out = Path(folder) / "logits.npy"
        request = {"bundle": str(bundle.path), "out": str(out), "batch": batch}
        outcome = run_in_child("logits", {**request, **facts}, timeout)
        facts["seconds"] = round(time.perf_counter() - started, 3)
        if outcome.status != "ok":
            return ParityRow(**facts, status=outcome.status, signal=outcome.signal, message=outcome.message)
        logits: FloatArray = np.load(out, allow_pickle=False)
    if logits.shape != golden.shape:
        return ParityRow(
            **facts, status="error", message=f"logits of shape {logits.shape}, golden ones are {golden.shape}"
        )
    difference = np.abs(logits.astype(np.float64) - golden)
    wrong = metrics.mismatched(logits, golden)
    scale = artifact.output.scale
    return ParityRow(
        **facts,
        status="ok",
        mismatches=len(wrong),
        mismatched=tuple(wrong.tolist()),
        ties=metrics.ties(logits),
        max_abs_diff=float(difference.max()),
        mean_abs_diff=float(difference.mean()),
        min_lead_quanta=None if scale is None else int(metrics.lead_quanta(logits, golden, scale).min()),
        errors=metrics.errors(logits, labels),
        allowed=allowed if artifact.quantized else 0,
    )


def child_logits(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: the logits of every input, saved to ``request["out"]`` as (images, classes) float32."""
    from edgedigits.classifier import open_artifact

    bundle = Bundle(request["bundle"])
    x, _ = bundle.inputs()
    artifact, batch = bundle.artifact(request["artifact"]), request["batch"]
    with open_artifact(bundle, artifact, request["runtime"], threads=1, kernels=request["kernels"]) as session:
        logits = np.concatenate([session.run(x[start : start + batch]) for start in range(0, len(x), batch)])
    np.save(request["out"], logits)
    return {}
