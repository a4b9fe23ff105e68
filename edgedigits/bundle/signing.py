"""Signs a bundle, and reports whose signature it has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedigits.bundle.bundle import MODELS, Bundle
from edgedigits.bundle.manifest import MANIFEST, SIGNATURE
from edgedigits.bundle.signature import CONTEXT, Signature, fingerprint
from edgedigits.errors import InputError
from edgedigits.system.files import atomic_directory, atomic_file, write_zip
from edgedigits.system.limits import MOST_ARCHIVE_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign_bundle(bundle: Bundle, key: Ed25519PrivateKey, output: Path | None = None) -> Signature:
    """Verify every file of the bundle, sign its manifest, and add manifest.sig or replace it.

    With ``output``, a directory or a name ending in .zip that must not exist, write a signed copy there instead.
    Raises BundleError if a file is damaged, InputError for an output that exists or a bundle inside the package.
    """
    contents = {MANIFEST: bundle.manifest_bytes} | {name: bundle.read(name) for name in bundle.manifest.hashes}
    signature = Signature(fingerprint(key.public_key()), key.sign(CONTEXT + bundle.manifest_bytes))
    contents[SIGNATURE] = signature.to_bytes()
    if output is None and bundle.path.resolve().is_relative_to(MODELS.resolve()):
        raise InputError(f"{bundle.path} is inside the package; sign a copy of it, with --output NAME.zip")
    if output is not None and output.exists():
        raise InputError(f"{output} exists; choose another name")
    target = output or bundle.path
    if output is None and target.is_dir():
        with atomic_file(target / SIGNATURE) as temporary:
            temporary.write_bytes(contents[SIGNATURE])
    elif output is None or output.suffix == ".zip":
        names = () if output else bundle.files.names()  # what nothing reads is not lost either
        others = {name: bundle.files.read(name, MOST_ARCHIVE_BYTES) for name in names if name not in contents}
        with atomic_file(target) as temporary:
            write_zip(temporary, {**others, **contents})
    else:
        with atomic_directory(target) as folder:
            for name, content in contents.items():
                (folder / name).write_bytes(content)
    return signature


def signature_status(bundle: Bundle) -> dict[str, Any] | None:
    """The fingerprint ``key`` in a bundle's signature, and whether it was ``verified`` on opening; None without one.

    It does not need the package cryptography.
    """
    try:
        key = Signature.from_bytes(bundle.signature() or b"").key
    except ValueError:
        return None
    return {"key": key, "verified": bool(bundle.signer)}
