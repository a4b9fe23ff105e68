"""Build our wheel for a device from the installed package, since most users have no wheel file.

Leaves out the workstation's package, and the packaged bundles that the kit replaces.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import edgedigits
from edgedigits.bundle.bundle import DEFAULT_BUNDLE, MODELS
from edgedigits.errors import EdgeDigitsError
from edgedigits.system.files import write_zip

NAME = "edgedigits"


def own_distribution() -> Distribution:
    """Our installed metadata; EdgeDigitsError if there is none."""
    try:
        return distribution(NAME)
    except PackageNotFoundError:
        raise EdgeDigitsError("edgedigits is not installed here; run `pip install .` in its source folder") from None


def write_own_wheel(folder: Path, other_bundles: bool) -> None:
    """Write the wheel into ``folder``; the same installation gives the same bytes.

    The format is that of PEP 427 (wheels) and PEP 376 (RECORD). The default bundle is left out, because the kit has its
    bundle next to the wheel; without ``other_bundles`` the other ones are left out too.
    """
    own = own_distribution()
    info = f"{NAME}-{own.version}.dist-info"
    files = {**package_files(other_bundles), **{f"{info}/{name}": text.encode() for name, text in _metadata(own)}}
    record = [f"{name},sha256={_record_hash(content)},{len(content)}" for name, content in sorted(files.items())]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    write_zip(folder / f"{NAME}-{own.version}-py3-none-any.whl", files)


def package_hash() -> str:
    """SHA-256 of our version and the installed package."""
    digest = hashlib.sha256(own_distribution().version.encode())
    for name, content in sorted(package_files(other_bundles=True).items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def package_files(other_bundles: bool) -> dict[str, bytes]:
    """The files of the installed package by their names in a wheel; the default bundle is left out."""
    top = Path(edgedigits.__path__[0])
    excluded = [DEFAULT_BUNDLE] if other_bundles else [path for path in MODELS.iterdir() if path.is_dir()]
    files = {}
    for path in top.rglob("*"):
        name = path.relative_to(top)
        hidden = any(part == "__pycache__" or part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and not any(path.is_relative_to(bundle) for bundle in excluded):
            files[f"{NAME}/{name.as_posix()}"] = path.read_bytes()
    return files


def _metadata(own: Distribution) -> list[tuple[str, str]]:
    """The files of the .dist-info folder but RECORD; the entry points of the workstation's package are left out."""
    scripts = [p for p in own.entry_points if p.group == "console_scripts" and p.value.startswith(f"{NAME}.")]
    texts = [
        ("METADATA", own.read_text("METADATA") or ""),
        ("WHEEL", f"Wheel-Version: 1.0\nGenerator: {NAME} {own.version}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        ("entry_points.txt", "[console_scripts]\n" + "".join(f"{p.name} = {p.value}\n" for p in scripts)),
    ]
    for file in own.files or ():
        if file.parts[0].endswith(".dist-info") and "licenses" in file.parts:
            name = file.relative_to(file.parts[0]).as_posix()
            texts.append((name, own.read_text(name) or ""))
    return texts


def _record_hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
