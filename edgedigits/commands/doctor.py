"""The command `edgedigits doctor`."""

from __future__ import annotations

import click

from edgedigits.commands.options import json_option, memory_option, timeout_option
from edgedigits.system.terminal import FAILED, emit, progress


@click.command(short_help="Say what this machine can run.")
@timeout_option
@memory_option
@json_option
def doctor(timeout: float, memory_bytes: int | None, json_file: str | None) -> None:
    """Say what this machine can run, and the exact line to type for what is missing or broken.

    Every runtime is tried on one image, in a process of its own, so that a crash is a line here. The exit status is 0
    if a runtime works and none that is installed fails, and 1 if not.
    """
    from edgedigits.doctor.diagnosis import diagnosis_text
    from edgedigits.doctor.examination import examine

    found = examine(
        timeout=timeout, memory_bytes=memory_bytes, on_check=lambda check: progress(f"{check.name}: {check.status}")
    )
    emit(found.to_json(), diagnosis_text(found), json_file)
    raise SystemExit(0 if found.healthy else FAILED)
