"""Parity: does every artifact, in every runtime and on every kernel set, answer exactly as the trained model did?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgedigits.bundle.bundle import Artifact, Bundle
from edgedigits.bundle.dataset import Labels
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.parity import metrics
from edgedigits.parity.rounding import Recomputed
from edgedigits.runtimes.table import RUNTIMES, runtime_info
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.endings import memory_share
from edgedigits.system.isolation import Children, Outcome
from edgedigits.system.scratch import scratch_folder
from edgedigits.system.statistics import rate_upper_bound


@dataclass(frozen=True)
class Flip:
    """An image that an int8 artifact flips, or nearly does.

    Attributes:
        image: its index.
        label, int8_label: the trained model's answer and the artifact's.
        lead_quanta: by how much the trained model's two largest logits differ, in the artifact's output quanta.
        int8_lead_quanta: the same of the artifact's own logits.
        kind: ``"tie"`` where the artifact's lead is 0, ``"near-tie"`` where it is 1 (kernels differ by that much), else
            ``"real"``.
    """

    image: int
    label: int
    int8_label: int
    lead_quanta: float
    int8_lead_quanta: int
    kind: str


@dataclass(frozen=True)
class ParityRow:
    """One artifact in one runtime on one kernel set.

    Attributes:
        status: ``"ok"`` (it ran), ``"missing"`` (not installed), ``"error"``, ``"crashed"``, ``"timeout"`` or
            ``"memory"`` (ended for taking too much).
        mismatches, mismatched: how many images, and which, have another argmax than the trained model.
        ties: images with more than one largest logit.
        max_abs_diff, mean_abs_diff: of the logits against the golden ones.
        min_lead_quanta: int8 only: the smallest lead of the trained model's class, in output quanta; 0 is a tie.
        errors: images whose argmax is not their label.
        ledger: int8 only: every image that flips or nearly does.
        flip_rate_upper_95: the exact upper 95 % confidence bound of the rate of mismatches; it holds for images like
            these, and for those that the artifact was tuned on it says less.
        accuracy_p: McNemar's exact test that accuracy is what the trained model's is.
        arithmetic: int8 only: whose rounding the answers show, bit for bit, as the numpy runtime recomputes them.
        seconds: what the child took.
        allowed: how many mismatches the gate lets pass.
        sha256: of the artifact's file, hexadecimal.
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
    ledger: tuple[Flip, ...] = ()
    flip_rate_upper_95: float | None = None
    accuracy_p: float | None = None
    arithmetic: str | None = None
    seconds: float | None = None
    signal: str | None = None
    message: str = ""
    allowed: int = 0
    sha256: str | None = None

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
    unseen: bool = False
    rows: tuple[ParityRow, ...] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """Whether at least one row ran, and every row that could run passed."""
        return any(row.status != "missing" for row in self.rows) and all(row.passed for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The report in plain types."""
        rows = [{**asdict(row), "mismatched": list(row.mismatched), "passed": row.passed} for row in self.rows]
        return {
            "passed": self.passed,
            "bundle": self.bundle,
            "images": self.images,
            "unseen": self.unseen,
            "rows": rows,
        }


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
    limits = timeout, memory_bytes or memory_share(workers)
    with scratch_folder() as folder, ThreadPoolExecutor(workers) as pool, Children("logits") as children:
        np.save(folder / "X.npy", x)

        def recompute(number: int, artifact: Artifact, kernel_set: str) -> FloatArray | None:
            facts = {"artifact": artifact.file, "runtime": "numpy", "kernels": kernel_set}
            out = folder / f"recomputed-{number}-{kernel_set}.npy"
            files = {"inputs": str(folder / "X.npy"), "out": str(out)}
            ok = _run(children, bundle, facts, files, len(x), limits).status == "ok"  # its own rows say what is wrong
            return np.load(out, allow_pickle=False) if ok else None

        recomputed = {a.file: Recomputed(a, partial(recompute, number, a)) for number, a in enumerate(chosen)}

        def row(number: int, artifact: Artifact, runtime: str, kernel_set: str) -> ParityRow:
            facts = _facts(artifact, runtime, kernel_set, golden, allow_mismatches if unseen is None else len(golden))
            if not RUNTIMES[runtime].installed:
                done = ParityRow(**facts, status="missing", message=f"not installed; {RUNTIMES[runtime].install}")
            else:
                files = {"inputs": str(folder / "X.npy"), "out": str(folder / f"{number}.npy")}
                outcome = _run(children, bundle, facts, files, batch, limits)
                facts["seconds"] = round(outcome.seconds, 3)
                if outcome.status == "ok":
                    logits = np.load(files["out"], allow_pickle=False)
                    done = _compare(artifact, facts, logits, golden, labels, recomputed[artifact.file])
                else:
                    done = ParityRow(**facts, status=outcome.status, signal=outcome.signal, message=outcome.message)
            on_row(done)
            return done

        rows = tuple(pool.map(row, range(len(plan)), *zip(*plan, strict=True)))
    if all(r.status == "missing" for r in rows):
        installs = dict.fromkeys(RUNTIMES[r.runtime].install for r in rows if r.runtime != "tensorflow")
        raise RuntimeUnavailableError(f"no runtime is installed, so nothing was checked; {' or '.join(installs)}")
    return ParityReport(str(bundle.path), len(golden), unseen is not None, rows)


def _unseen(bundle: Bundle, folder: Path) -> tuple[FloatArray, Labels]:
    from edgedigits.pictures.preprocessing import to_rows

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


def _facts(artifact: Artifact, runtime: str, kernels: str, golden: FloatArray, allowed: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"artifact": artifact.file, "runtime": runtime, "kernels": kernels, "images": len(golden)}
    facts |= {"version": RUNTIMES[runtime].version, "allowed": allowed if artifact.quantized else 0}
    return facts | {"sha256": artifact.sha256}


def _run(
    children: Children,
    bundle: Bundle,
    facts: dict[str, Any],
    files: dict[str, str],
    batch: int,
    limits: tuple[float, int | None],
) -> Outcome:
    request = {**bundle.request, "batch": batch, **files}
    request |= {key: facts[key] for key in ("artifact", "runtime", "kernels")}
    return children.run("logits", request, *limits)


def _compare(
    artifact: Artifact,
    facts: dict[str, Any],
    logits: FloatArray,
    golden: FloatArray,
    labels: Labels,
    recomputed: Recomputed,
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
        facts["arithmetic"] = metrics.arithmetic(logits, recomputed, scale)
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
