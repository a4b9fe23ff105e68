"""What `edgedigits doctor` found: the facts, the verdict, and both as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgedigits.benchmark.machine import MachineWarning
from edgedigits.runtimes.wheels import CHECKED, Platform
from edgedigits.system.text import table


@dataclass(frozen=True)
class Check:
    """What was found about one runtime, or about a package that edgedigits needs.

    Attributes:
        name: the runtime's or the distribution's.
        version: None where it is not installed or does not tell.
        status: ``"works"``; ``"wrong answer"``; ``"crashed"``, by ``signal``; ``"broken"``, it raised an exception;
            ``"error"``, edgedigits found why it cannot run; ``"timeout"``; ``"memory"``; ``"not installed"``;
            ``"not tried"``, since NumPy does not work.
        message: what is wrong, or why there is no wheel, and what to use instead; empty where all is well.
        line: what to type to mend or to add it; None where there is no such line.
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
    """Everything that was found, and the verdict."""

    machine: dict[str, Any]
    platform: Platform
    packages: tuple[Check, ...]
    runtimes: tuple[Check, ...]
    warnings: tuple[MachineWarning, ...] = ()

    @property
    def working(self) -> tuple[str, ...]:
        """The runtimes that answered right, in their order of preference."""
        return tuple(check.name for check in self.runtimes if check.status == "works")

    @property
    def healthy(self) -> bool:
        """Whether at least one runtime works, and none that is installed fails."""
        return bool(self.working) and not any(check.failed for check in self.runtimes)

    def to_json(self) -> dict[str, Any]:
        """The diagnosis in plain types."""
        return {
            "healthy": self.healthy,
            "machine": self.machine,
            "platform": asdict(self.platform),
            "packages": [asdict(check) for check in self.packages],
            "runtimes": [asdict(check) for check in self.runtimes],
            "warnings": [asdict(warning) for warning in self.warnings],
            "wheels_checked": CHECKED,
        }


def diagnosis_text(found: Diagnosis) -> str:
    """The machine, the table of runtimes, what is wrong, the lines to type, and the verdict."""
    rows = [(check.name, check.version or "-", check.status) for check in found.runtimes]
    lines = [*_machine_lines(found), "", table(("runtime", "version", "state"), rows, left=3)]
    checks = (*found.packages, *found.runtimes)
    lines += [f"{check.name}: {check.message}" for check in checks if check.message]
    lines += [f"warning: {warning.what}; {warning.remedy}" for warning in found.warnings]
    needed = [c for c in checks if c.failed or c in found.packages]
    optional = [c for c in checks if c not in needed]
    heads = ("to mend it, type", "to add a runtime, type one of" if found.working else "to have a runtime, type one of")
    for head, group in zip(heads, (needed, optional), strict=True):
        typed = dict.fromkeys(check.line for check in group if check.line)
        lines += ["", head, *(f"  {line}" for line in typed)] if typed else []
    return "\n".join([*lines, "", _verdict(found)])


def _verdict(found: Diagnosis) -> str:
    broken = [check.name for check in found.runtimes if check.failed]
    works = f"{', '.join(found.working) or 'no runtime'} work{'s' if len(found.working) < 2 else ''}"
    fails = f", {', '.join(broken)} fail{'s' if len(broken) < 2 else ''}" if broken else ""
    return f"{'healthy' if found.healthy else 'NOT HEALTHY'}: {works}{fails} (wheels as of {CHECKED})"


def _machine_lines(found: Diagnosis) -> list[str]:
    m, where = found.machine, found.platform
    size = None if m["memory_bytes"] is None else f"{m['memory_bytes'] / 1e9:.1f} GB"
    libc = f"{where.libc} {where.release_text}".strip() if where.system == "Linux" else None
    processor = where.machine
    if m["architecture"] is not None and m["architecture"].lower() != where.machine:
        processor += f" under a kernel for {m['architecture']}"
    packages = [f"edgedigits {m['packages']['edgedigits']}"]
    packages += [f"{c.name} {c.version or ''} {c.status if c.status != 'works' else ''}" for c in found.packages]
    parts = {
        "machine": (*dict.fromkeys((m["model"], m["cpu"])), f"{m['cores']} cores", size),
        "system": (m["os"], libc, m["container"] and f"in {m['container']}"),
        "Python": (f"{m['python']} for {processor}",),
        "packages": [" ".join(text.split()) for text in packages],
    }
    return [f"{name:<8}  {', '.join(part for part in facts if part)}" for name, facts in parts.items()]
