"""Make a kit: our wheel, the wheels of a runtime and of NumPy for the device, a bundle, checksums and install.sh."""

from __future__ import annotations

import re
import shlex
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgedigits.bundle.bundle import MANIFEST, SIGNATURE, Bundle
from edgedigits.errors import EdgeDigitsError, InputError
from edgedigits.kit import debian, pip
from edgedigits.kit.own_wheel import installed, write_own_wheel
from edgedigits.kit.targets import RELEASES, Target, choose_runtime, parse_python, parse_target
from edgedigits.runtimes.wheels import DEBIAN_ARM32, Wheel
from edgedigits.system.archive import write_zip
from edgedigits.system.files import atomic_file, sha256

SUMS = "SHA256SUMS"
FACTS = "kit.conf"
INSTALL = "install.sh"
SHOWN_INDEX = 1015  # the image that install.sh reads to prove the installation
_BYTECODE_AND_BLOCKS = 1.3  # what an unpacked file takes on a disk once it has been imported, over its size


@dataclass(frozen=True)
class KitFile:
    """One file of a kit."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Kit:
    """A kit that was written: for which device, and what is in it.

    ``needs`` names the Debian packages that the device must have itself; it is empty where the kit holds all.
    """

    path: str
    target: str
    python: str
    runtime: str
    bundle: str
    bytes: int
    unpacked_bytes: int
    sha256: str
    files: tuple[KitFile, ...]
    needs: tuple[str, ...]
    note: str

    def to_json(self) -> dict[str, Any]:
        """The kit in plain types."""
        return asdict(self)


@dataclass(frozen=True)
class _Parts:
    """What was fetched, and why something was not."""

    wheels: list[Path]
    packages: list[Path]
    needs: tuple[str, ...] = ()
    note: str = ""


def make_kit(
    target: str,
    output: Path,
    *,
    python: str = "3.11",
    runtime: str | None = None,
    bundle: Bundle | None = None,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Kit:
    """Write a kit to ``output``, whole or not at all.

    Args:
        target: one of :data:`edgedigits.kit.targets.TARGETS`.
        python: the device's, such as ``"3.11"``.
        runtime: its name; None for the first that has a wheel there, else numpy.
        bundle: None for those inside the package; another takes the place of all of them.
        on_progress: told what is being done.

    Raises:
        InputError: an unknown target or Python, or a runtime without a wheel there or that opens nothing of the bundle.
        BundleError: the bundle is damaged.
        EdgeDigitsError: the wheels cannot be fetched, or the kit cannot be written.
    """
    device, version = parse_target(target), parse_python(python)
    name, wheel = choose_runtime(device, version, runtime)
    shipped = bundle or Bundle()
    if not any(name in artifact.opened_by for artifact in shipped.manifest.artifacts):
        raise InputError(f"{name} opens none of {', '.join(shipped.names)}; choose another --runtime or bundle")
    if output.is_dir():
        raise InputError(f"{output} is a folder; expected a file to write, such as {output / 'kit.zip'}")
    on_progress("checking the bundle")
    inside: dict[str, bytes | Path] = {f"bundle/{n}": content for n, content in _bundle_files(shipped).items()}
    # The file is made first: a place that cannot be written is told before anything is fetched.
    with atomic_file(output) as temporary, TemporaryDirectory() as name:
        folder = Path(name)
        try:
            parts = _fetch(device, version, wheel, bundle is None, folder, on_progress)
        except OSError as cause:
            raise EdgeDigitsError(
                f"cannot write to {folder}: {cause.strerror or cause}; free some space, or set TMPDIR to another folder"
            ) from cause
        inside.update({f"wheels/{path.name}": path for path in parts.wheels})
        inside.update({f"debian/{path.name}": path for path in parts.packages})
        unpacked = sum(len(content) for content in inside.values() if isinstance(content, bytes))
        unpacked += sum(map(_wheel_bytes, parts.wheels)) + sum(map(debian.unpacked_bytes, parts.packages))
        inside[FACTS] = _facts(device, version, name, shipped, parts, unpacked).encode()
        inside[INSTALL] = (files(__package__) / INSTALL).read_bytes()
        listed = _listed(inside)
        inside[SUMS] = "".join(f"{file.sha256}  {file.name}\n" for file in listed).encode()
        on_progress("writing the kit")
        write_zip(temporary, inside)
        content = temporary.read_bytes()
    return Kit(
        path=str(output),
        target=target,
        python=python,
        runtime=name,
        bundle=shipped.manifest.name,
        bytes=len(content),
        unpacked_bytes=unpacked,
        sha256=sha256(content),
        files=listed,
        needs=parts.needs,
        note=parts.note,
    )


def kit_text(kit: Kit) -> str:
    """The files, the size, and what to type on the device."""
    from edgedigits.system.text import table

    rows = [(file.name, f"{file.bytes:,}", file.sha256[:16]) for file in kit.files]
    lines = [table(("file", "bytes", "sha256"), rows), ""]
    if kit.needs:
        lines.append(f"not in it, since {kit.note}; on the device: sudo apt install {' '.join(kit.needs)}")
    name = Path(kit.path).name
    lines += [
        f"{kit.path}: {kit.bytes / 1e6:.1f} MB, for {kit.target} with Python {kit.python}; runtime {kit.runtime}, "
        f"bundle {kit.bundle}",
        f"sha256 {kit.sha256}",
        f"copy it to the device, and there: python3 -m zipfile -e {shlex.quote(name)} kit && sh kit/{INSTALL}",
    ]
    return "\n".join(lines)


def _bundle_files(bundle: Bundle) -> dict[str, bytes]:
    """Every file as it is, byte for byte, so that a signature holds on the device too."""
    signature = bundle.signature()
    files = {MANIFEST: bundle.manifest_bytes} | ({} if signature is None else {SIGNATURE: signature})
    return files | {name: bundle.read(name) for name in (*bundle.names, *bundle.manifest.files)}


def _fetch(
    device: Target,
    python: tuple[int, int],
    wheel: Wheel | None,
    other_bundles: bool,
    folder: Path,
    on_progress: Callable[[str], None],
) -> _Parts:
    """The wheels and packages for the device, in ``folder``."""
    where = device.platform(python)
    own = [line for line in installed().requires or () if "extra ==" not in line]
    runtime = [wheel.requirement] if wheel else []
    needs = [*wheel.needs] if wheel else []
    packages: tuple[str, ...] = ()
    note: str | None = None
    if not where.arm32:
        on_progress("fetching wheels")
        pip.download([*own, *runtime, *needs], where, folder)
    else:
        # The package index has neither NumPy nor Pillow for this processor; another, set up by the user, may.
        compiled = {name.lower(): package for name, package in DEBIAN_ARM32.items()}
        on_progress("fetching wheels")
        pip.download([*(r for r in own if _name(r) not in compiled), *runtime], where, folder, dependencies=False)
        try:
            pip.download([*(r for r in own if _name(r) in compiled), *needs], where, folder, dependencies=False)
        except pip.NoWheelError as cause:
            if python not in RELEASES:
                known = " or ".join("{}.{}".format(*version) for version in RELEASES)
                raise InputError(
                    f"no NumPy for {device.name} with Python {where.python_text}; make the kit with --python {known}"
                ) from cause
            packages = tuple(compiled.values())
            note = debian.why_not()
            if note is None:
                on_progress("fetching Debian's packages")
                debian.download(packages, device.debian, RELEASES[python][0], folder)
    write_own_wheel(folder, other_bundles)
    return _Parts(
        wheels=sorted(folder.glob("*.whl")),
        packages=sorted(folder.glob("*.deb")),
        needs=packages if note else (),
        note=note or "",
    )


def _name(requirement: str) -> str:
    """Such as ``numpy`` of ``numpy>=1.23``."""
    found = re.match(r"[\w.-]+", requirement)
    return found[0].lower() if found else ""


def _wheel_bytes(path: Path) -> int:
    """What a wheel takes once it is unpacked."""
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def _facts(
    device: Target, python: tuple[int, int], runtime: str, bundle: Bundle, parts: _Parts, unpacked_bytes: int
) -> str:
    """What install.sh must know, as assignments of the shell."""
    index = min(SHOWN_INDEX, bundle.manifest.images - 1)
    openable = [artifact for artifact in bundle.manifest.artifacts if runtime in artifact.opened_by]
    # A float model must answer as the trained one did; one that is int8 alone may be a bundle that flips this image.
    exact = any(not artifact.quantized for artifact in openable)
    facts = {
        "target": device.name,
        "words": device.words,
        "python_version": "{}.{}".format(*python),
        "runtime": runtime,
        "suffix": device.suffix(python),
        "triplet": device.triplet,
        "machines": " ".join(device.kernels),
        "glibc": "{}.{}".format(*pip.glibc_needed(parts.wheels)),
        "need_kb": str(round(unpacked_bytes * _BYTECODE_AND_BLOCKS / 1024)),
        "modules": "numpy=python3-numpy" if parts.needs else "",
        "wheels": " ".join(path.name for path in parts.wheels),
        "packages": " ".join(path.name for path in parts.packages),
        "index": str(index),
        # Sure or unsure, the digit stands between a colon and a blank.
        "expected": f": {bundle.golden()[index].argmax()} " if exact else f"X[{index}]: ",
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in facts.items())


def _listed(inside: Mapping[str, bytes | Path]) -> tuple[KitFile, ...]:
    """The files with their checksums, by name."""
    listed = []
    for name, held in sorted(inside.items()):
        content = held if isinstance(held, bytes) else held.read_bytes()
        listed.append(KitFile(name, len(content), sha256(content)))
    return tuple(listed)
