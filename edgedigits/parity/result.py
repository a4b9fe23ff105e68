"""The result of a parity check: rows, flips and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from edgedigits.system import schema
from edgedigits.system.schema import ANY_SIGN
from edgedigits.system.text import count


@dataclass(frozen=True)
class Flip:
    """An image whose prediction an int8 artifact changes, or nearly does.

    Attributes:
        label, int8_label: the classes that the trained model and the artifact predict.
        lead_quanta: the difference of the trained model's two largest logits, in the artifact's output quanta.
        int8_lead_quanta: the same of the artifact's own logits.
        kind: ``"tie"`` for an int8 lead of 0, ``"near-tie"`` for one of at most the quanta by which kernel sets were
            found to differ (at least 1), else ``"real"``.
    """

    image: int
    label: int
    int8_label: int
    lead_quanta: Annotated[float, ANY_SIGN]
    int8_lead_quanta: Annotated[int, ANY_SIGN]
    kind: str

    @property
    def flipped(self) -> bool:
        """Whether the prediction changes."""
        return self.label != self.int8_label


@dataclass(frozen=True)
class ParityRow:
    """One artifact in one runtime on one kernel set.

    Attributes:
        status: ``"missing"`` (not installed) or the status of a :class:`edgedigits.system.isolation.Outcome`.
        mismatched: the images with another argmax than the trained model's; at most ``allowed`` of them pass.
        ties: the number of images with more than one largest logit.
        max_abs_diff, mean_abs_diff: of the logits from the golden ones.
        min_lead_quanta: int8 only: the smallest lead of the trained model's class, in output quanta; 0 is a tie.
        kernel_quanta, kernel_lead_quanta: int8 only: the most output quanta by which two rows of the artifact differ in
            a logit, and in the lead of the trained model's class on an image; None if fewer than two ran.
        errors: the number of images whose argmax is not their label.
        ledger: int8 only: the changed predictions and near-ties.
        flip_rate_upper_95: the exact upper 95 % confidence bound of the rate of mismatches on images like these; None
            on images that the artifact was tuned on, which bound nothing.
        accuracy_p: the p of McNemar's exact test that the accuracy equals the trained model's.
        arithmetic: int8 .tflite only: the numpy runtime's kernel set that gives the same logits for every probe of the
            bundle; or ``"cannot be told: "`` or ``"unknown: "`` and why.
        us_per_image: on a microcontroller: the mean time of a prediction by its own clock, in microseconds.
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
    min_lead_quanta: Annotated[int | None, ANY_SIGN] = None
    kernel_quanta: int | None = None
    kernel_lead_quanta: int | None = None
    errors: int | None = None
    ledger: tuple[Flip, ...] = ()
    flip_rate_upper_95: float | None = None
    accuracy_p: float | None = None
    arithmetic: str | None = None
    us_per_image: float | None = None
    seconds: float | None = None
    signal: str | None = None
    message: str = ""
    allowed: int = 0
    sha256: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the row ran with at most the allowed mismatches, or its runtime is not installed."""
        few = self.mismatches is not None and self.mismatches <= self.allowed
        return self.status == "missing" or (self.status == "ok" and few)


@dataclass(frozen=True)
class ParityReport:
    """All rows, and the verdict; ``host`` is the name of the machine."""

    bundle: str
    images: int
    unseen: bool = False
    rows: Annotated[tuple[ParityRow, ...], schema.count(1_000)] = ()
    host: str | None = None

    @property
    def passed(self) -> bool:
        """Whether at least one row ran, and every row that could run passed."""
        return any(row.status != "missing" for row in self.rows) and all(row.passed for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        rows = [asdict(row) | {"passed": row.passed} for row in self.rows]
        return {"passed": self.passed} | asdict(self) | {"rows": rows}


def kernel_text(rows: Iterable[ParityRow]) -> list[str]:
    """Per int8 artifact: how far its rows were found to differ, and whether the smallest lead exceeds that."""
    lines = []
    for group in group_rows(rows, lambda row: row.kernel_quanta is not None):
        leads = [row.min_lead_quanta for row in group if row.min_lead_quanta is not None]
        lead, gap = min(leads), group[0].kernel_lead_quanta or 0
        verdict = "exceeds that" if lead > gap else "does not exceed that, so other kernels may change a prediction"
        quanta = count(group[0].kernel_quanta or 0, "quantum", "quanta")
        measured = f"logits differ by up to {quanta}, leads by up to {gap}"
        lines.append(f"{group[0].artifact}, its {len(group)} rows: {measured}; the smallest lead, {lead}, {verdict}")
    return lines


def group_rows(rows: Iterable[ParityRow], key: Callable[[ParityRow], Any]) -> list[list[ParityRow]]:
    """Group the rows of one artifact that have the same key; rows with an empty key are left out."""
    groups: dict[Any, list[ParityRow]] = {}
    for row in rows:
        if key(row):
            groups.setdefault((row.artifact, key(row)), []).append(row)
    return list(groups.values())
