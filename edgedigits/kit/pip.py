"""Download wheels for another machine with pip and its configuration here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgedigits.errors import EdgeDigitsError
from edgedigits.runtimes.wheels import Platform, version_text

_LEGACY_TAGS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


class NoWheelError(EdgeDigitsError):
    """None of pip's indexes has a suitable wheel."""


def download(requirements: Sequence[str], where: Platform, folder: Path, *, dependencies: bool = True) -> None:
    """Download the wheels of these requirements, and of their dependencies, into ``folder``.

    Raises NoWheelError if one has no wheel for that device, EdgeDigitsError if pip is missing or fails. pip evaluates
    environment markers for the Python that runs it, not for the device's.
    """
    if find_spec("pip") is None:
        raise EdgeDigitsError("making a kit needs pip, which this Python lacks; run `python -m ensurepip`")
    command = [sys.executable, "-m", "pip", "download", "--dest", str(folder), "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--retries=2"]
    python = version_text(where.python)
    command += [f"--python-version={python}", "--implementation=cp", f"--abi=cp{python.replace('.', '')}"]
    command += [f"--platform={tag}" for tag in _platform_tags(where)]
    command += [*([] if dependencies else ["--no-deps"]), *requirements]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        raise _explain(done.stderr, where)


def _platform_tags(where: Platform) -> list[str]:
    """All platform tags that run there, newest first: pip takes each --platform literally."""
    assert where.release is not None
    tags = [f"manylinux_2_{minor}_{where.machine}" for minor in range(where.release[1], 4, -1)]
    return tags + [f"{name}_{where.machine}" for name in reversed(_LEGACY_TAGS)]


def _explain(errors: str, where: Platform) -> EdgeDigitsError:
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["no reason given"]
    last = next((line for line in reversed(lines) if line.startswith("ERROR: ")), lines[-1])
    last = last.removeprefix("ERROR: ")[:300]
    if "No space left on device" in errors:
        return EdgeDigitsError(f"pip ran out of disk space ({last}); free some, or set TMPDIR to a folder with 200 MB")
    if re.search(r"connection|retrying|timed out|name resolution|unreachable|proxy", errors, flags=re.IGNORECASE):
        # pip's last line then says that there is no such package; the system's message stands further up.
        reason = re.search(r"[^:'\"<>]*: \[Errno -?\d+\] [^'\"<>]*", errors)
        cause = reason[0].strip() if reason else last
        return EdgeDigitsError(f"pip cannot reach its index ({cause}); check the network: making a kit needs it")
    missing = re.search(r"No matching distribution found for (.+)", errors)
    if missing:
        return NoWheelError(
            f"{missing[1].strip()} has no wheel for Python {version_text(where.python)} on {where.machine}; "
            "choose another --python or --runtime"
        )
    return EdgeDigitsError(f"pip could not download the wheels: {last}; fix the cause and try again")


def glibc_needed(wheels: Sequence[Path]) -> tuple[int, int]:
    """The oldest glibc that all these wheels run on, by their file names; (2, 5) if none needs one."""
    needed = [(2, 5)]
    for wheel in wheels:
        tags = wheel.stem.rpartition("-")[2]
        releases = [release for name, release in _LEGACY_TAGS.items() if f"{name}_" in tags]
        releases += [(int(major), int(minor)) for major, minor in re.findall(r"manylinux_(\d+)_(\d+)_", tags)]
        needed.append(min(releases, default=(2, 5)))
    return max(needed)
