"""Compare every artifact, in every runtime and kernel set, with the trained model's logits."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgedigits.bundle.bundle import Artifact, Bundle
from edgedigits.bundle.dataset import Labels
from edgedigits.classifier import open_artifact
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.parity import metrics
from edgedigits.parity.board import full_integer_artifact, run_on_board
from edgedigits.parity.result import Flip, ParityReport, ParityRow
from edgedigits.runtimes.table import RUNTIMES, runtime_info
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.isolation import Outcome, run_all
from edgedigits.system.text import count

NO_PROBES = "cannot be told: the bundle has no probes"


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
    serial: str | None = None,
    on_row: Callable[[ParityRow], None] = lambda row: None,
    on_image: Callable[[int, int], None] = lambda done, of: None,
) -> ParityReport:
    """Run every artifact x runtime x kernel set over all of the bundle's inputs, each in a process of its own.

    Args:
        artifacts, runtimes, kernels: restrict the rows; empty means all. A runtime named here must be installed.
        allow_mismatches: the mismatches that an int8 row may have; a float row may have none.
        batch: images per call.
        workers: the number of processes that run at once.
        unseen: run on the bundle's held-out inputs instead, or on unseen.npz in this folder where it has none; their
            mismatches do not fail an int8 row.
        timeout, memory_bytes: the limits of one row, as in :func:`edgedigits.system.isolation.run_all`.
        serial: the port of a microcontroller with the sketch of `edgedigits c`; its row is the last, and the only one
            unless ``runtimes`` are named.
        on_row: called with each finished row.
        on_image: called with the number of images done on the microcontroller, and in all.

    Raises:
        RuntimeUnavailableError: a named runtime is not installed, or no runtime is; or the port cannot be opened.
        ModelError: the microcontroller does not answer, or holds another model.
        BundleError: a file of the bundle does not match its manifest.
    """
    if batch < 1:
        raise InputError(f"batch is {batch}; expected 1 or more")
    inputs = bundle.verify() or bundle.inputs()
    for name in runtimes:
        runtime_info(name).require()
    chosen = bundle.chosen(artifacts)
    x, labels = inputs
    if unseen is not None:
        x, labels = _held_out(bundle, unseen)
    golden = bundle.golden(unseen is not None)
    allowed = allow_mismatches if unseen is None else len(golden)
    rows = [] if serial and not runtimes else list(_plan(chosen, runtimes, kernels, len(golden), allowed))
    if not rows and not serial:
        asked = f"{', '.join(runtimes) or 'the runtimes'} with kernels {', '.join(kernels) or 'any'}"
        raise RuntimeUnavailableError(
            f"nothing to run: none of {asked} "
            f"opens {', '.join(a.file for a in chosen)}; `edgedigits inspect` shows which runtimes do"
        )
    for row in rows:
        if row.status == "missing":
            on_row(row)
    if not serial and all(row.status == "missing" for row in rows):
        installs = dict.fromkeys(RUNTIMES[row.runtime].install for row in rows if row.runtime != "tensorflow")
        raise RuntimeUnavailableError(f"no runtime is installed, so nothing was checked; {' or '.join(installs)}")

    def compare(row: ParityRow, found: FloatArray) -> ParityRow:
        row = _compare(row, bundle, found, golden, labels)
        if unseen is not None and row.mismatches is not None:  # on tuned-on images a bound bounds nothing
            row = replace(row, flip_rate_upper_95=metrics.rate_upper_bound(row.mismatches, len(golden)))
        return row

    logits: dict[int, FloatArray] = {}
    probes = bundle.probes()
    with TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "X.npy", x)
        run = partial(_run_tasks, bundle, folder, timeout, memory_bytes, workers)
        numbers = [number for number, row in enumerate(rows) if row.status != "missing"]
        if serial:  # first, since a board that does not answer ends the command
            artifact = full_integer_artifact(bundle)
            row, on_board = run_on_board(artifact, serial, x, timeout, on_image)
            ((_, _, expected),) = run([(artifact.file, "numpy", "reference")], len(x))
            row = compare(replace(row, allowed=allowed), on_board)
            rows.append(_require_equal(row, on_board, expected, artifact.output.scale))
            logits[len(rows) - 1] = on_board
            on_row(rows[-1])
        combinations = [(rows[n].artifact, rows[n].runtime, rows[n].kernels) for n in numbers]
        for index, outcome, found in run(combinations, batch):
            number = numbers[index]
            row = replace(rows[number], status=outcome.status, signal=outcome.signal, message=outcome.message)
            row = replace(row, seconds=round(outcome.seconds, 3))
            if found is not None:
                row, logits[number] = compare(row, found["logits"]), found["logits"]
                if row.artifact.endswith(".tflite") and row.min_lead_quanta is not None:
                    row = replace(row, arithmetic=probes.name_rounding(found["probes"]) if probes else NO_PROBES)
            rows[number] = row
            on_row(row)
        for artifact in chosen:
            _compare_kernels(bundle, artifact, rows, logits, golden)
    return ParityReport(str(bundle.path), len(golden), unseen is not None, tuple(rows), platform.node() or None)


def _held_out(bundle: Bundle, folder: Path) -> tuple[FloatArray, Labels]:
    from edgedigits.pictures.normalization import to_rows

    found = bundle.held_out()
    if found is not None:
        return found
    images, labels = bundle.unseen(folder)
    return to_rows(images), labels


def _require_equal(
    row: ParityRow, logits: FloatArray, found: dict[str, FloatArray] | None, scale: float | None
) -> ParityRow:
    """The row of a board, which fails unless its logits are those of the kernel set ``reference``."""
    assert found is not None
    assert scale is not None
    if row.status != "ok":
        return row
    expected = found["logits"]
    if np.array_equal(logits, expected):
        return replace(row, arithmetic="reference")
    difference = _difference(logits, expected, scale, "the kernel set 'reference'")
    return replace(row, status="error", message=f"{difference}; the compiler or the sketch is at fault")


def _plan(
    artifacts: Sequence[Artifact], runtimes: Sequence[str], kernels: Sequence[str], images: int, allowed: int
) -> Iterator[ParityRow]:
    """The rows before they run; one whose runtime is not installed stays as it is."""
    for artifact in artifacts:
        for info in (RUNTIMES[name] for name in artifact.opened_by if not runtimes or name in runtimes):
            sets = [k for k in info.kernels_for(artifact.quantized) if not kernels or k in kernels]
            for kernel_set in sets if info.installed else sets[:1]:  # a missing runtime is one row, not three
                yield ParityRow(
                    artifact=artifact.file,
                    runtime=info.name,
                    kernels=kernel_set,
                    status="waiting" if info.installed else "missing",
                    message="" if info.installed else f"not installed; {info.install}",
                    images=images,
                    version=info.version,
                    allowed=allowed if artifact.quantized else 0,
                    sha256=artifact.sha256,
                )


def _run_tasks(
    bundle: Bundle,
    folder: Path,
    timeout: float,
    memory_bytes: int | None,
    workers: int,
    combinations: Sequence[tuple[str, str, str]],
    batch: int,
) -> Iterator[tuple[int, Outcome, dict[str, FloatArray] | None]]:
    """Run combinations of artifact, runtime and kernel set; yield each one's index, outcome and result as it ends.

    The result is that of :func:`compute_logits`.
    """
    common = {**bundle.request, "inputs": str(folder / "X.npy"), "batch": batch}
    tasks = [
        (
            f"{__name__}:compute_logits",
            common | {"artifact": file, "runtime": runtime, "kernels": kernels, "out": str(folder / f"{number}.npz")},
        )
        for number, (file, runtime, kernels) in enumerate(combinations)
    ]
    for number, outcome in run_all(tasks, timeout, memory_bytes, workers):
        found = None
        if outcome.status == "ok":
            with np.load(folder / f"{number}.npz", allow_pickle=False) as arrays:
                found = dict(arrays)
        yield number, outcome, found


def compute_logits(request: dict[str, Any]) -> dict[str, Any]:
    """In the child: save the ``logits`` of every input, and those of the ``probes`` if there are any.

    Both are (images, classes) float32, in the .npz file ``request["out"]``.
    """
    bundle = Bundle.reopen(request)
    x = np.load(request["inputs"], mmap_mode="r", allow_pickle=False)
    artifact, batch = bundle.artifact(request["artifact"]), request["batch"]
    with open_artifact(bundle, artifact, request["runtime"], threads=1, kernels=request["kernels"]) as session:
        if batch == 1:  # as Classifier.logits runs it
            logits = np.stack([session.run(row) for row in np.array(x)])
        else:
            logits = np.concatenate([session.run(x[start : start + batch]) for start in range(0, len(x), batch)])
        found, probes = {"logits": logits}, bundle.probes() if artifact.quantized else None
        if probes is not None:
            found["probes"] = np.stack([session.run(row) for row in probes.x])
    np.savez(request["out"], **found)
    return {}


def _compare_kernels(
    bundle: Bundle, artifact: Artifact, rows: list[ParityRow], logits: dict[int, FloatArray], golden: FloatArray
) -> None:
    """Fill in by how much the artifact's int8 rows differ, if two ran, and list the near-ties that this makes."""
    own = [n for n, row in enumerate(rows) if row.artifact == artifact.file and row.min_lead_quanta is not None]
    scale = artifact.quantum
    if scale is None or len(own) < 2:
        return
    scores = bundle.manifest.contract.scores
    quanta = int(np.rint(metrics.widest_gap([logits[n] for n in own]) / scale))
    leads = [metrics.lead_quanta(scores(logits[n]), scores(golden), scale) for n in own]
    for n in own:
        rows[n] = replace(rows[n], kernel_quanta=quanta, kernel_lead_quanta=int(metrics.widest_gap(leads)))
        if quanta > 1:
            rows[n] = replace(rows[n], ledger=list_flips(scores(logits[n]), scores(golden), scale, quanta))


def _difference(logits: FloatArray, expected: FloatArray, scale: float, name: str) -> str:
    gap = np.rint(np.abs(logits.astype(np.float64) - expected) / scale)
    wrong, quanta = int(np.count_nonzero(gap)), count(int(gap.max()), "quantum", "quanta")
    return f"{count(wrong, 'logit')} {'differs' if wrong == 1 else 'differ'} from {name}, by up to {quanta}"


def _compare(row: ParityRow, bundle: Bundle, outputs: FloatArray, expected: FloatArray, labels: Labels) -> ParityRow:
    """The row with the metrics of its outputs; ``expected`` are the trained model's."""
    if outputs.shape != expected.shape:
        shapes = f"outputs of shape {outputs.shape}, the trained model's are {expected.shape}"
        return replace(row, status="error", message=f"{shapes}; export the bundle again")
    contract = bundle.manifest.contract
    logits, golden = contract.scores(outputs), contract.scores(expected)
    wrong = metrics.mismatched(logits, golden)
    row = replace(
        row,
        mismatches=len(wrong),
        mismatched=tuple(wrong.tolist()),
        ties=metrics.ties(logits),
        errors=metrics.errors(logits, labels),
        accuracy_p=metrics.mcnemar(golden.argmax(axis=1) == labels, logits.argmax(axis=1) == labels),
    )
    if not np.isfinite(outputs).all():  # JSON has no NaN, and the largest difference would be one
        return replace(row, message="some logits are NaN or infinite")
    difference = np.abs(outputs.astype(np.float64) - expected)
    row = replace(row, max_abs_diff=float(difference.max()), mean_abs_diff=float(difference.mean()))
    scale = bundle.artifact(row.artifact).quantum
    if scale is None:
        return row
    lead = int(metrics.lead_quanta(logits, golden, scale).min())
    return replace(row, min_lead_quanta=lead, ledger=list_flips(logits, golden, scale))


def list_flips(logits: FloatArray, golden: FloatArray, scale: float, near: int = 1) -> tuple[Flip, ...]:
    """The images whose prediction changes, or whose int8 lead is at most ``near`` quanta, by which kernels differ."""
    expected, predicted = golden.argmax(axis=1), logits.argmax(axis=1)
    lead = metrics.leads(golden, expected) / scale
    int8_lead = metrics.lead_quanta(logits, logits, scale)

    def flip(i: int) -> Flip:
        kind = "tie" if int8_lead[i] == 0 else "near-tie" if int8_lead[i] <= near else "real"
        return Flip(i, int(expected[i]), int(predicted[i]), float(lead[i]), int(int8_lead[i]), kind)

    return tuple(flip(i) for i in np.flatnonzero((expected != predicted) | (int8_lead <= near)).tolist())
