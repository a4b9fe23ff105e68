"""Result types of a benchmark; their field names are the keys of its JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median_low
from typing import Annotated, Any

from edgedigits.benchmark.machine import MachineWarning
from edgedigits.system.schema import ANY_SIGN, LARGEST, Keys, count, within

SCHEMA = 1
MOST_POINTS = 20_000  # of a sustained run; a week of minutes is 10,080, and five hours of seconds are 18,000
NOISY = 0.10
BIN_RATIO = 1.02  # of the edges of a histogram's bins
Positive = Annotated[int, within(1, LARGEST)]
# What the dictionaries in a report's JSON must contain.
MACHINE = Keys(
    {
        "host": str | None,
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
        samples: the number of timed calls, each from a float32 image to logits.
        p50_upper_ns: the 99 % confidence bound of ``p50_ns``, and so on.
        invoke_p50_ns: the median of the model alone, with its input already in place.
        timer_ns: the cost of reading the clock, which is part of every sample.
        spread: (largest - smallest) / median of ``window_p50_ns``, the windows' medians; above 10 % a row is ``noisy``.
        histogram: the lower edge in nanoseconds and the number of samples of each bin; a bin is at most 2 % wide.
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
    window_p50_ns: Annotated[tuple[Positive, ...], count(1_000)] = ()
    spread: float | None = None
    noisy: bool = False
    histogram: tuple[tuple[Positive, Positive], ...] = ()
    batch_ns: dict[str, int] = field(default_factory=dict)
    knee: int | None = None
    threads_p50_ns: dict[str, int] = field(default_factory=dict)
    signal: str | None = None
    message: str = ""
    sha256: str | None = None

    @property
    def images_per_second(self) -> dict[int, float]:
        """The throughput by batch size."""
        return {int(size): int(size) / max(ns, 1) * 1e9 for size, ns in self.batch_ns.items()}


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
    """One step of a sustained run, with frequency, temperature and what throttles the device at its end."""

    artifact: str
    runtime: str
    seconds: float
    samples: int
    p50_ns: int
    frequency_khz: int | None
    temperature_millicelsius: Annotated[int | None, ANY_SIGN]
    throttling: tuple[str, ...] = ()


def thin_out(points: Sequence[SustainedPoint], most: int) -> list[SustainedPoint]:
    """At most ``most`` points: neighbors become one with their median, highest temperature and all throttling."""
    size = math.ceil(len(points) / most)
    return [_merge(points[at : at + size]) for at in range(0, len(points), size)]


def _merge(points: Sequence[SustainedPoint]) -> SustainedPoint:
    temperatures = [p.temperature_millicelsius for p in points if p.temperature_millicelsius is not None]
    return replace(
        points[-1],
        samples=sum(p.samples for p in points),
        p50_ns=median_low(p.p50_ns for p in points),
        temperature_millicelsius=max(temperatures, default=None),
        throttling=tuple(dict.fromkeys(name for p in points for name in p.throttling)),
    )


@dataclass(frozen=True)
class BenchmarkReport:
    """All rows, and the machine they were measured on; a run with ``--watch`` has sustained points only.

    ``invalid`` says why the whole run is invalid; a run that is ``cut_short`` contains only its finished windows.
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
    sustained: Annotated[tuple[SustainedPoint, ...], count(MOST_POINTS)] = ()

    @property
    def passed(self) -> bool:
        """Whether the run is valid and complete, and every installed runtime was measured."""
        statuses = {row.status for row in self.rows} | {start.status for start in self.starts}
        return statuses <= {"ok", "missing"} and self.invalid is None and not self.cut_short

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {"schema": SCHEMA, "valid": self.invalid is None, **asdict(self)}
