"""The command `edgedigits doctor`."""

from __future__ import annotations

import click

from edgedigits.commands.options import json_option, memory_option, timeout_option
from edgedigits.system.terminal import FAILED, emit, progress


@click.command(short_help="Show which runtimes work on this machine.")
@timeout_option
@memory_option
@json_option
def doctor(timeout: float, memory_bytes: int | None, json_file: str | None) -> None:
    """Show which runtimes work on this machine, and how to install or repair the others.

    Every runtime classifies one image in a process of its own, so a runtime that crashes is reported like any other.
    The exit status is 0 if at least one runtime works and no installed runtime fails, otherwise 1.
    """
    from edgedigits.doctor.diagnosis import diagnosis_text
    from edgedigits.doctor.examination import examine

    diagnosis = examine(timeout, memory_bytes, on_check=lambda check: progress(f"{check.name}: {check.status}"))
    emit(diagnosis.to_json(), diagnosis_text(diagnosis), json_file)
    raise SystemExit(0 if diagnosis.healthy else FAILED)
