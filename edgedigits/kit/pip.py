"""Wheels for another machine: pip, as it is set up here, asked for that machine's files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgedigits.errors import EdgeDigitsError
from edgedigits.runtimes.wheels import Platform

_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


class NoWheelError(EdgeDigitsError):
    """No index that pip is set up with has a wheel that would do."""


def download(requirements: Sequence[str], where: Platform, folder: Path, *, dependencies: bool = True) -> None:
    """Put the wheels of these requirements, and of what they need, into ``folder``.

    Args:
        requirements: such as ``["numpy<2", "click>=8.1"]``.
        where: the device; pip itself reads environment markers as of this machine's Python.

    Raises:
        NoWheelError: a requirement has no wheel for that device.
        EdgeDigitsError: pip is missing, or failed: no network, a full disk; its last line is kept.
    """
    if find_spec("pip") is None:
        raise EdgeDigitsError("making a kit needs pip, which this Python lacks; `python -m ensurepip`, then again")
    command = [sys.executable, "-m", "pip", "download", "--dest", str(folder), "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--retries=2"]
    command += [f"--python-version={where.python_text}", "--implementation=cp"]
    command += ["--abi={}{}{}".format("cp", *where.python), *(f"--platform={tag}" for tag in _tags(where))]
    command += [*([] if dependencies else ["--no-deps"]), *requirements]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        raise _explained(done.stderr, where)


def _tags(where: Platform) -> list[str]:
    """Every platform whose wheels run there, newest first: pip does not know that an older glibc's does."""
    assert where.release is not None
    newest = where.release[1]
    return [f"manylinux_2_{minor}_{where.machine}" for minor in range(newest, 4, -1)] + [
        f"{name}_{where.machine}" for name in reversed(_LEGACY)
    ]


def _explained(errors: str, where: Platform) -> EdgeDigitsError:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if line.startswith("ERROR: ")), lines[-1] if lines else "no reason")
    last = last.removeprefix("ERROR: ")[:300]
    if "No space left on device" in errors:
        return EdgeDigitsError(f"pip ran out of disk ({last}); free some, or set TMPDIR to a folder with 200 MB")
    if re.search(r"connection|retrying|timed out|name resolution|unreachable|proxy", errors, flags=re.IGNORECASE):
        # pip's own last line is then that there is no such package; what the system said stands further up.
        reason = re.search(r"[^:'\"<>]*: \[Errno -?\d+\] [^'\"<>]*", errors)
        said = reason[0].strip() if reason else last
        return EdgeDigitsError(f"pip cannot reach its index ({said}); a kit is made where there is a network: connect")
    missing = re.search(r"No matching distribution found for (.+)", errors)
    if missing:
        return NoWheelError(
            f"{missing[1].strip()} has no wheel for Python {where.python_text} on {where.machine}; "
            "choose another --python or --runtime"
        )
    return EdgeDigitsError(f"pip could not fetch the wheels: {last}; mend that, then again")


def glibc_needed(wheels: Sequence[Path]) -> tuple[int, int]:
    """The oldest glibc that all these wheels run on, by their file names; (2, 5) where none asks for one."""
    needed = (2, 5)
    for wheel in wheels:
        releases = [_release(tag) for tag in wheel.stem.rpartition("-")[2].split(".")]
        needed = max(needed, min(found for found in releases if found) if any(releases) else needed)
    return needed


def _release(tag: str) -> tuple[int, int] | None:
    found = re.match(r"manylinux_(\d+)_(\d+)_", tag)
    return (int(found[1]), int(found[2])) if found else _LEGACY.get(tag.partition("_")[0])
