"""Result types of a benchmark; their field names are the keys of its JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from edgedigits.benchmark.machine import MachineWarning
from edgedigits.system.schema import ANY_SIGN, Keys, count

SCHEMA = 1
NOISY = 0.10
# The parts of a report that are dictionaries, as JSON is checked against them.
MACHINE = Keys(
    {
        "model": str | None,
        "cpu": str | None,
        "cpu_features": tuple[str, ...] | None,
        "architecture": str | None,
        "cores": int | None,
        "frequency_khz": int | None,
        "temperature_millicelsius": Annotated[int | None, ANY_SIGN],
        "load_1min": float | None,
        "governor": str | None,
        "memory_bytes": int | None,
        "kernel": str | None,
        "os": str | None,
        "container": str | None,
        "on_battery": bool | None,
        "python": str | None,
        "packages": dict[str, str | None],
    }
)
_READING = Annotated[dict[str, Any], Keys({"raw": int | None, "now": tuple[str, ...], "since_boot": tuple[str, ...]})]
THROTTLING = Keys({"before": _READING, "after": _READING})
METHOD = Keys({"windows": int, "min_seconds": float, "seed": Annotated[int, ANY_SIGN], "threads": int})


@dataclass(frozen=True)
class LatencyRow:
    """One artifact in one runtime. Times are nanoseconds; None if there are too few samples or nothing ran.

    Attributes:
        sha256: hexadecimal, of the artifact's file.
        samples: the number of timed calls, each from a float32 image to logits. The percentiles are over these; each
            ``upper`` is the 99 % confidence bound.
        window_p50_ns: the median of each window; ``spread`` is their (largest - smallest) / median, and a row with a
            spread above 10 % is ``noisy``.
        invoke_samples, invoke_p50_ns: the model alone, with its input already in place.
        timer_ns: the cost of reading the clock twice, which is part of every sample.
        histogram: [ns, count] pairs over all samples, in bins of at most 2 %; ``ns`` is the lower edge.
        batch_ns: batch size -> median time of one call; ``knee`` is the smallest batch with 90 % of the best rate.
        threads_p50_ns: thread count -> median time of one image.
    """

    artifact: str
    runtime: str
    threads: int
    status: str
    bytes: int
    version: str | None = None
    samples: int = 0
    min_ns: int | None = None
    p50_ns: int | None = None
    p50_upper_ns: int | None = None
    p90_ns: int | None = None
    p90_upper_ns: int | None = None
    p95_ns: int | None = None
    p95_upper_ns: int | None = None
    p99_ns: int | None = None
    p99_upper_ns: int | None = None
    p999_ns: int | None = None
    p999_upper_ns: int | None = None
    max_ns: int | None = None
    invoke_samples: int = 0
    invoke_p50_ns: int | None = None
    timer_ns: int | None = None
    window_p50_ns: Annotated[tuple[int, ...], count(1_000)] = ()
    spread: float | None = None
    noisy: bool = False
    histogram: tuple[tuple[int, int], ...] = ()
    batch_ns: dict[str, int] = field(default_factory=dict)
    knee: int | None = None
    threads_p50_ns: dict[str, int] = field(default_factory=dict)
    signal: str | None = None
    message: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class StartRow:
    """Cold start of one runtime: medians over new processes, nanoseconds. The peak memory, bytes, is the largest."""

    artifact: str
    runtime: str
    status: str
    samples: int = 0
    interpreter_ns: int | None = None
    imports_ns: int | None = None
    load_ns: int | None = None
    first_ns: int | None = None
    peak_rss_bytes: int | None = None
    message: str = ""


@dataclass(frozen=True)
class SustainedPoint:
    """One step of a sustained run, with frequency and temperature at its end."""

    artifact: str
    runtime: str
    seconds: float
    samples: int
    p50_ns: int
    frequency_khz: int | None
    temperature_millicelsius: Annotated[int | None, ANY_SIGN]


@dataclass(frozen=True)
class BenchmarkReport:
    """All rows, and the machine they were measured on.

    Attributes:
        invalid: why the whole run is invalid, or None.
        cut_short: whether the run was interrupted; it then contains the finished windows.
        method: the requested windows, seconds, seed and threads.
    """

    bundle: str
    machine: Annotated[dict[str, Any], MACHINE]
    throttling: Annotated[dict[str, Any], THROTTLING]
    threats: tuple[MachineWarning, ...]
    invalid: str | None
    cut_short: bool
    method: Annotated[dict[str, Any], METHOD]
    rows: Annotated[tuple[LatencyRow, ...], count(1_000)]
    starts: Annotated[tuple[StartRow, ...], count(1_000)] = ()
    sustained: Annotated[tuple[SustainedPoint, ...], count(20_000)] = ()  # a week of minutes is 10,080

    @property
    def passed(self) -> bool:
        """Whether the run is valid and complete, and every installed runtime was measured."""
        statuses = {row.status for row in self.rows} | {start.status for start in self.starts}
        return statuses <= {"ok", "missing"} and self.invalid is None and not self.cut_short

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {"schema": SCHEMA, "valid": self.invalid is None, **asdict(self)}
