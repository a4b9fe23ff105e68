"""Make a kit: wheels of edgedigits, a runtime and NumPy for the device, a bundle, checksums and install.sh."""

from __future__ import annotations

import re
import shlex
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from edgedigits.bundle.bundle import MANIFEST, SIGNATURE, Bundle
from edgedigits.errors import EdgeDigitsError, InputError
from edgedigits.kit import debian, pip
from edgedigits.kit.own_wheel import own_distribution, write_own_wheel
from edgedigits.kit.targets import RELEASES, TARGETS, Target, choose_runtime, parse_python
from edgedigits.runtimes.wheels import DEBIAN_ARM32, Wheel, version_text
from edgedigits.system.files import atomic_file, sha256, write_zip
from edgedigits.system.limits import printable

INSTALL = "install.sh"
TEST_INDEX = 1015  # the image that install.sh classifies to test the installation
_DISK_FACTOR = 1.3  # bytes on a disk, with bytecode and whole blocks, per unpacked byte


@dataclass(frozen=True)
class KitFile:
    """One file of a kit."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Kit:
    """A kit that was written: for which device, and what is in it.

    ``needs`` are the Debian packages that the device must already have, and ``note`` says why the kit lacks them.
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


def make_kit(
    target: str,
    output: Path,
    *,
    python: str = "3.11",
    runtime: str | None = None,
    bundle: Bundle | None = None,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Kit:
    """Write a kit to ``output``, completely or not at all.

    Args:
        target: one of :data:`edgedigits.kit.targets.TARGETS`.
        runtime: None for the first .tflite runtime with a wheel for the device, else numpy.
        bundle: None for the packaged ones; any other replaces them all.

    Raises:
        InputError: an unknown target or Python, or a runtime that has no wheel there or opens nothing in the bundle.
        EdgeDigitsError: the bundle is damaged, the wheels cannot be downloaded, or the kit cannot be written.
    """
    if target not in TARGETS:
        raise InputError(f"no target is called {target!r}; choose one of {', '.join(TARGETS)}")
    device, version = TARGETS[target], parse_python(python)
    name, wheel = choose_runtime(device, version, runtime)
    shipped = bundle or Bundle()
    if not any(name in artifact.opened_by for artifact in shipped.manifest.artifacts):
        raise InputError(f"{name} opens none of {', '.join(shipped.names)}; choose another --runtime or bundle")
    if output.is_dir():
        raise InputError(f"{output} is a folder; expected a file name, such as {output / 'kit.zip'}")
    on_progress("checking the bundle")
    members = {f"bundle/{file}": content for file, content in bundle_files(shipped).items()}
    unpacked = sum(map(len, members.values()))
    # The output file comes first, so that a path that cannot be written is reported before anything is downloaded.
    with atomic_file(output) as temporary, TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            needs, note = _download(device, version, wheel, folder, on_progress)
            write_own_wheel(folder, other_bundles=bundle is None)
        except OSError as cause:
            raise EdgeDigitsError(
                f"cannot write to {folder}: {cause.strerror or cause}; free some space, or set TMPDIR to another folder"
            ) from cause
        wheels, packages = sorted(folder.glob("*.whl")), sorted(folder.glob("*.deb"))
        unpacked += sum(map(_wheel_bytes, wheels)) + sum(map(debian.unpacked_bytes, packages))
        index, expected = _expected_output(shipped, name)
        settings = {
            "target": target,
            "description": device.description,
            "python_version": version_text(version),
            # The suffix of extension modules identifies processor, word size, libc and version.
            "suffix": f".cpython-{version[0]}{version[1]}-{device.triplet}.so",
            "triplet": device.triplet,
            "machines": " ".join(device.kernels),
            "runtime": name,
            "glibc": version_text(pip.glibc_needed(wheels)),
            "need_kb": str(round(unpacked * _DISK_FACTOR / 1024)),
            "modules": "numpy=python3-numpy" if needs else "",
            "wheels": " ".join(path.name for path in wheels),
            "packages": " ".join(path.name for path in packages),
            "index": str(index),
            "expected": expected,
        }
        members |= {f"wheels/{path.name}": path.read_bytes() for path in wheels}
        members |= {f"debian/{path.name}": path.read_bytes() for path in packages}
        members["kit.conf"] = "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items()).encode()
        members[INSTALL] = (files(__package__) / INSTALL).read_bytes()
        listed = tuple(KitFile(n, len(content), sha256(content)) for n, content in sorted(members.items()))
        members["SHA256SUMS"] = "".join(f"{file.sha256}  {file.name}\n" for file in listed).encode()
        on_progress("writing the kit")
        write_zip(temporary, members)
        content = temporary.read_bytes()
    where = (str(output), target, python, name, shipped.manifest.name)
    return Kit(*where, len(content), unpacked, sha256(content), listed, needs, note)


def kit_text(kit: Kit) -> str:
    """The files, the size, and the command for the device."""
    from edgedigits.system.text import table

    rows = [(file.name, file.bytes, file.sha256[:16]) for file in kit.files]
    lines = [table(("file", "bytes", "sha256"), rows), ""]
    if kit.needs:
        packages = " ".join(kit.needs)
        lines.append(f"the kit lacks some packages, since {kit.note}; on the device run: sudo apt install {packages}")
    what = f"for {kit.target} with Python {kit.python}, runtime {kit.runtime}, bundle {kit.bundle}"
    unpack = f"python3 -m zipfile -e {shlex.quote(Path(kit.path).name)} kit"
    lines += [f"{kit.path}: {kit.bytes / 1e6:.1f} MB {what}", f"sha256 {kit.sha256}"]
    return "\n".join([*lines, f"copy it to the device and run there: {unpack} && sh kit/{INSTALL}"])


def bundle_files(bundle: Bundle) -> dict[str, bytes]:
    """All files byte for byte, so that a signature stays valid on the device."""
    signature = bundle.signature()
    files = {MANIFEST: bundle.manifest_bytes} | ({} if signature is None else {SIGNATURE: signature})
    return files | {name: bundle.read(name) for name in (*bundle.names, *bundle.manifest.files)}


def _download(
    device: Target, python: tuple[int, int], wheel: Wheel | None, folder: Path, on_progress: Callable[[str], None]
) -> tuple[tuple[str, ...], str]:
    """Download wheels and Debian packages into ``folder``; returns the kit's ``needs`` and ``note``."""
    where = device.platform(python)
    own = [requirement for requirement in own_distribution().requires or () if "extra ==" not in requirement]
    runtime, runtime_needs = ([wheel.requirement], wheel.needs) if wheel else ([], ())
    on_progress("downloading wheels")
    if not where.arm32:
        pip.download([*own, *runtime, *runtime_needs], where, folder)
        return (), ""
    # The package index has neither NumPy nor Pillow for this processor; another index that the user set up may.
    compiled = [r for r in own if re.split(r"[^\w.-]", r)[0].lower() in map(str.lower, DEBIAN_ARM32)]
    pip.download([*(r for r in own if r not in compiled), *runtime], where, folder, dependencies=False)
    try:
        pip.download([*compiled, *runtime_needs], where, folder, dependencies=False)
    except pip.NoWheelError as cause:
        if python not in RELEASES:
            known = " or ".join(map(version_text, RELEASES))
            raise InputError(
                f"no NumPy for {device.name} with Python {version_text(python)}; make the kit with --python {known}"
            ) from cause
        packages = tuple(DEBIAN_ARM32.values())
        reason = debian.why_unavailable()
        if reason is not None:
            return packages, reason
        on_progress("downloading Debian packages")
        debian.download(packages, device.debian, RELEASES[python][0], folder)
    return (), ""


def _wheel_bytes(path: Path) -> int:
    """The unpacked size of a wheel."""
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def _expected_output(bundle: Bundle, runtime: str) -> tuple[int, str]:
    """The image that install.sh classifies, and what the output must contain."""
    index = min(TEST_INDEX, bundle.manifest.images - 1)
    # A float model must give the trained model's answer; an int8 model may give another one on this image.
    exact = any(runtime in artifact.opened_by and not artifact.quantized for artifact in bundle.manifest.artifacts)
    # The class stands between a colon and a space, with or without a warning behind it.
    label = bundle.manifest.labels[bundle.manifest.contract.scores(bundle.golden()[index]).argmax()]
    return index, f": {printable(label)} " if exact else f"X[{index}]: "
