"""The result of a parity check: rows, flips and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from edgedigits.system.schema import ANY_SIGN, count


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
    lead_quanta: Annotated[float, ANY_SIGN]
    int8_lead_quanta: Annotated[int, ANY_SIGN]
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
    min_lead_quanta: Annotated[int | None, ANY_SIGN] = None
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
    rows: Annotated[tuple[ParityRow, ...], count(1_000)] = field(default_factory=tuple)

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
