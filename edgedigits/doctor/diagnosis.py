"""The result of `edgedigits doctor`, as JSON and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgedigits.benchmark.machine import MachineWarning
from edgedigits.runtimes.wheels import TABLE_DATE, Platform, version_text
from edgedigits.system.text import table


@dataclass(frozen=True)
class Check:
    """The state of one runtime, or of a package that edgedigits needs.

    Attributes:
        status: ``"works"``, ``"not installed"``, ``"wrong answer"``, ``"crashed"`` (by ``signal``), ``"broken"`` (it
            raised an exception), ``"error"`` (edgedigits found why it cannot run), ``"timeout"``, ``"memory"``, or
            ``"not tried"`` (NumPy does not work).
        message: what is wrong, or why there is no wheel, and what to use instead.
        line: the command that installs or repairs it.
    """

    name: str
    version: str | None
    status: str
    message: str = ""
    signal: str | None = None
    line: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it is installed and does not work."""
        return self.status not in ("works", "not installed")


@dataclass(frozen=True)
class Diagnosis:
    """The machine and the state of everything on it."""

    machine: dict[str, Any]
    platform: Platform
    packages: tuple[Check, ...]
    runtimes: tuple[Check, ...]
    warnings: tuple[MachineWarning, ...] = ()

    @property
    def working(self) -> tuple[str, ...]:
        """The runtimes that work, in order of preference."""
        return tuple(check.name for check in self.runtimes if check.status == "works")

    @property
    def healthy(self) -> bool:
        """Whether at least one runtime works and no installed one fails."""
        return bool(self.working) and not any(check.failed for check in self.runtimes)

    @property
    def verdict(self) -> str:
        """What works and what fails, as a line."""
        broken = [check.name for check in self.runtimes if check.failed]
        works = f"{', '.join(self.working) or 'no runtime'} work{'s' if len(self.working) < 2 else ''}"
        fails = f", {', '.join(broken)} fail{'s' if len(broken) < 2 else ''}" if broken else ""
        return f"{'healthy' if self.healthy else 'NOT HEALTHY'}: {works}{fails} (table of wheels from {TABLE_DATE})"

    def to_json(self) -> dict[str, Any]:
        """The diagnosis in plain types."""
        return {"healthy": self.healthy, "verdict": self.verdict, **asdict(self), "wheels_checked": TABLE_DATE}


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """The machine, the table of runtimes, the problems, the commands that solve them, and the verdict."""
    rows = [(check.name, check.version or None, check.status) for check in diagnosis.runtimes]
    lines = [*_machine_lines(diagnosis), "", table(("runtime", "version", "state"), rows, left=3)]
    checks = (*diagnosis.packages, *diagnosis.runtimes)
    lines += [f"{check.name}: {check.message}" for check in checks if check.message]
    lines += [f"warning: {warning.what}; {warning.remedy}" for warning in diagnosis.warnings]
    repairs = {c.line: None for c in checks if c.line and (c.failed or c in diagnosis.packages)}
    additions = {c.line: None for c in checks if c.line and c.line not in repairs}
    if repairs:
        lines += ["", "to repair the installation, run", *(f"  {line}" for line in repairs)]
    if additions:
        article = "another" if diagnosis.working else "a"
        lines += ["", f"to add {article} runtime, run one of", *(f"  {line}" for line in additions)]
    return "\n".join([*lines, "", diagnosis.verdict])


def _machine_lines(diagnosis: Diagnosis) -> list[str]:
    m, where = diagnosis.machine, diagnosis.platform
    memory = None if m["memory_bytes"] is None else f"{m['memory_bytes'] / 1e9:.1f} GB"
    libc = f"{where.libc} {version_text(where.release)}".strip() if where.system == "Linux" else None
    processor = where.machine
    if m["architecture"] is not None and m["architecture"].lower() != where.machine:
        processor += f" on a kernel for {m['architecture']}"
    packages = [f"edgedigits {m['packages']['edgedigits']}"]
    packages += [f"{c.name} {c.version or ''} {c.status if c.status != 'works' else ''}" for c in diagnosis.packages]
    parts = {
        "machine": (*dict.fromkeys((m["model"], m["cpu"])), f"{m['cores']} cores", memory),
        "system": (m["os"], libc, m["container"] and f"in {m['container']}"),
        "Python": (f"{m['python']} for {processor}",),
        "packages": [" ".join(text.split()) for text in packages],
    }
    return [f"{name:<8}  {', '.join(part for part in values if part)}" for name, values in parts.items()]
