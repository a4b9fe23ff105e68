"""Our own wheel for a device, put together from what is installed here: a wheel's user has no wheel file any more.

The same way serves an ordinary and an editable installation: the files of the package, the installed metadata. The
workstation's package stays behind, and so do its entry points, which would name a package that the device lacks. The
default bundle stays behind too, for a kit carries its bundle beside the wheel; and so does the other one where the
kit's bundle is not the default, since what is read there is to be read by that bundle.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import edgedigits
from edgedigits.bundle.bundle import DEFAULT_BUNDLE, MODELS
from edgedigits.errors import EdgeDigitsError
from edgedigits.system.archive import write_zip

NAME = "edgedigits"


def installed() -> Distribution:
    """Our own metadata; EdgeDigitsError where edgedigits runs without having been installed."""
    try:
        return distribution(NAME)
    except PackageNotFoundError:
        raise EdgeDigitsError("edgedigits is not installed, only found; `pip install edgedigits`, then again") from None


def write_own_wheel(folder: Path, other_bundles: bool) -> Path:
    """Write the wheel into ``folder``; the same installation gives the same bytes.

    The format is that of PEP 427 (binary distribution) and PEP 376 (RECORD).
    """
    own = installed()
    info = f"{NAME}-{own.version}.dist-info"
    members = {
        **_package_files(other_bundles),
        **{f"{info}/{name}": content for name, content in _metadata(own).items()},
    }
    record = [f"{name},sha256={_record_hash(content)},{len(content)}" for name, content in sorted(members.items())]
    record.append(f"{info}/RECORD,,")
    members[f"{info}/RECORD"] = ("\n".join(record) + "\n").encode()
    path = folder / f"{NAME}-{own.version}-py3-none-any.whl"
    write_zip(path, members)
    return path


def _package_files(other_bundles: bool) -> dict[str, bytes]:
    top = Path(edgedigits.__path__[0])
    left_out = [DEFAULT_BUNDLE] if other_bundles else [path for path in MODELS.iterdir() if path.is_dir()]
    files = {}
    for path in top.rglob("*"):
        inside = path.relative_to(top)
        hidden = any(part == "__pycache__" or part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden and not any(path.is_relative_to(p) for p in left_out):
            files[f"{NAME}/{inside.as_posix()}"] = path.read_bytes()
    return files


def _metadata(own: Distribution) -> dict[str, bytes]:
    points = [p for p in own.entry_points if p.value.partition(":")[0].partition(".")[0] == NAME]
    groups = sorted({point.group for point in points})
    texts = {
        "METADATA": own.read_text("METADATA") or "",
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: edgedigits {own.version}\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": "\n".join(
            f"[{group}]\n" + "".join(f"{p.name} = {p.value}\n" for p in sorted(points) if p.group == group)
            for group in groups
        ),
    }
    for file in own.files or ():
        if "licenses" in file.parts and file.parts[0].endswith(".dist-info"):
            name = file.relative_to(file.parts[0]).as_posix()
            texts[name] = own.read_text(name) or ""
    return {name: text.encode() for name, text in texts.items()}


def _record_hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
