"""Sign a bundle, and say whose signature it carries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedigits.bundle.bundle import MODELS, Bundle
from edgedigits.bundle.manifest import MANIFEST, SIGNATURE
from edgedigits.bundle.signature import CONTEXT, Signature, fingerprint
from edgedigits.errors import InputError
from edgedigits.system.archive import write_zip
from edgedigits.system.files import atomic_directory, atomic_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign_bundle(bundle: Bundle, key: Ed25519PrivateKey, output: Path | None = None) -> Signature:
    """Verify every file of the bundle, sign its manifest, and put manifest.sig in it.

    A directory gets one file more, or another in its place; a .zip is written anew, with all that was in it.

    Args:
        output: where to write a signed copy instead, a directory or a name ending in .zip; it must not exist.

    Raises:
        BundleError: a file of the bundle is damaged.
        InputError: the bundle is inside the package and no output is given, or the output exists.
        EdgeDigitsError: it cannot be written; what stood there is untouched.
    """
    contents = {MANIFEST: bundle.manifest_bytes}
    contents |= {name: bundle.read(name) for name in (*bundle.names, *bundle.manifest.files)}
    signature = Signature(fingerprint(key.public_key()), key.sign(CONTEXT + bundle.manifest_bytes))
    contents[SIGNATURE] = signature.to_bytes()
    if output is None and bundle.path.resolve().is_relative_to(MODELS.resolve()):
        raise InputError(f"{bundle.path} is inside the package; sign a copy of it, with --output NAME.zip")
    if output is not None and output.exists():
        raise InputError(f"{output} is there already; choose another name")
    target = output or bundle.path
    if output is None and target.is_dir():
        with atomic_file(target / SIGNATURE) as temporary:
            temporary.write_bytes(contents[SIGNATURE])
    elif output is None or output.suffix == ".zip":
        beside = {} if output else _beside(target, contents)
        with atomic_file(target) as temporary:
            write_zip(temporary, {**beside, **contents})
    else:
        with atomic_directory(target) as folder:
            for name, content in contents.items():
                (folder / name).write_bytes(content)
    return signature


def _beside(path: Path, contents: dict[str, bytes]) -> dict[str, bytes]:
    """What else a .zip holds: nothing reads it, but it is not ours to drop."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist() if name not in contents}
    except (OSError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile) as cause:
        raise InputError(
            f"{path}: holds more than the bundle, which cannot be read ({cause}); sign a copy, with --output NAME.zip"
        ) from cause


def state(bundle: Bundle) -> dict[str, Any] | None:
    """Whose signature a bundle carries, ``key``, and whether it was ``verified`` on opening; None for no whole one.

    Without the package cryptography too.
    """
    content = bundle.signature()
    try:
        return None if content is None else {"key": Signature.from_bytes(content).key, "verified": bool(bundle.signer)}
    except ValueError:
        return None
