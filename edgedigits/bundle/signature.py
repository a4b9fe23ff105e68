"""Who made a bundle: an ed25519 signature over its manifest, which holds the SHA-256 of every other file.

What is signed is :data:`CONTEXT` and then the exact bytes of manifest.json, so a signature made for another purpose
does not verify. SECURITY.md describes the format. The package cryptography is imported only when it is needed.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgedigits.bundle.manifest import MANIFEST, SIGNATURE
from edgedigits.errors import EdgeDigitsError, InputError, RuntimeUnavailableError, SignatureError
from edgedigits.system.files import atomic_files, sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CONTEXT = b"edgedigits bundle manifest, version 1\n"
FORMAT = "edgedigits signature 1, ed25519"
_LINES = re.compile(rf"{FORMAT}\nkey ([0-9a-f]{{64}})\nsignature ([A-Za-z0-9+/]{{86}}==)\n")
_MOST_KEY_BYTES = 1 << 16


@dataclass(frozen=True)
class Signature:
    """The contents of manifest.sig."""

    key: str  # its fingerprint, which tells another key from a changed manifest
    value: bytes

    def to_bytes(self) -> bytes:
        """Format manifest.sig."""
        return f"{FORMAT}\nkey {self.key}\nsignature {base64.b64encode(self.value).decode()}\n".encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Signature:
        """Parse manifest.sig; ValueError for anything but the output of :meth:`to_bytes`."""
        found = _LINES.fullmatch(content.decode("ascii"))
        signature = found and cls(found[1], base64.b64decode(found[2]))
        if not signature or signature.to_bytes() != content:  # base64 has spare bits, so several spellings
            raise ValueError(f"expected the three lines of {FORMAT!r}")
        return signature


def verify_signature(manifest: bytes, signature: bytes | None, keys: Sequence[Path | str], where: Path) -> str:
    """The fingerprint of the key, one of ``keys``, that signed the manifest's bytes.

    Raises SignatureError if there is none or the manifest was changed since, InputError if a key cannot be read, and
    RuntimeUnavailableError without the package cryptography.
    """
    trusted = {fingerprint(key): key for key in map(load_public, keys)}
    if not trusted:
        raise InputError("no public key is trusted; give the file of one, such as KEY.pub")
    if signature is None:
        raise SignatureError(f"{where}: not signed (there is no {SIGNATURE}); ask its maker for a signed one")
    try:
        found = Signature.from_bytes(signature)
    except ValueError as cause:
        raise SignatureError(f"{where}: {SIGNATURE} is damaged ({cause}); copy the bundle again") from cause
    if found.key not in trusted:
        raise SignatureError(
            f"{where}: signed by another key ({found.key}), expected {' or '.join(trusted)}; "
            "get the bundle from the owner of that key"
        )
    from cryptography.exceptions import InvalidSignature

    try:
        trusted[found.key].verify(found.value, CONTEXT + manifest)
    except InvalidSignature as cause:
        raise SignatureError(
            f"{where}: {MANIFEST} was changed since {found.key} signed it; copy the bundle again from its source"
        ) from cause
    return found.key


def trusted_keys() -> list[Path]:
    """The public keys that this machine trusts, the files *.pub of one folder sorted by name; InputError for none.

    The folder is ``$EDGEDIGITS_KEYS``, or ``edgedigits/trusted`` in ``$XDG_CONFIG_HOME``, by default ``~/.config``.
    """
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folder = Path(os.environ.get("EDGEDIGITS_KEYS") or config / "edgedigits" / "trusted")
    found = sorted(folder.glob("*.pub"))
    if not found:
        raise InputError(f"no public key is trusted: {folder} holds no *.pub; copy one there, or give --key KEY.pub")
    return found


def make_keys(name: Path, password: str | None = None) -> tuple[Path, Path, str]:
    """Make NAME.key, readable by its owner only and encrypted if there is a password, and NAME.pub.

    Returns the two files and the fingerprint. Raises EdgeDigitsError if one of the files exists or cannot be written.
    """
    modules = _cryptography()
    formats = modules.serialization
    encryption = formats.BestAvailableEncryption(password.encode()) if password else formats.NoEncryption()
    key = modules.ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(formats.Encoding.PEM, formats.PrivateFormat.PKCS8, encryption)
    public = key.public_key().public_bytes(formats.Encoding.PEM, formats.PublicFormat.SubjectPublicKeyInfo)
    files = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    with atomic_files(*files) as temporary:
        for path in filter(os.path.lexists, files):
            raise EdgeDigitsError(f"cannot write {path}: it exists, and no key is overwritten; choose another name")
        for path, content, mode in zip(temporary, (secret, public), (0o600, 0o644), strict=True):
            with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, mode), "wb") as stream:
                stream.write(content)
    return *files, fingerprint(key.public_key())


def fingerprint(key: Ed25519PublicKey) -> str:
    """Hexadecimal SHA-256 of the key's DER SubjectPublicKeyInfo."""
    formats = _cryptography().serialization
    return sha256(key.public_bytes(formats.Encoding.DER, formats.PublicFormat.SubjectPublicKeyInfo))


def load_public(path: Path | str) -> Ed25519PublicKey:
    """Read a public key; InputError for anything else."""
    content = _read_pem(path)
    if b"PRIVATE KEY" in content:
        raise InputError(f"{path}: a private key, which must stay secret; give the public one, such as NAME.pub")
    key: Ed25519PublicKey = _parse(path, "load_pem_public_key", content)
    return key


def load_private(path: Path | str, ask: Callable[[], str]) -> Ed25519PrivateKey:
    """Read a private key; ``ask`` is called for the password if it is encrypted.

    Raises InputError for anything else, a wrong password, or an unencrypted key that others may read.
    """
    content = _read_pem(path)
    password = ask().encode() if b"ENCRYPTED" in content else None
    key: Ed25519PrivateKey = _parse(path, "load_pem_private_key", content, password)
    if os.name == "posix" and password is None and Path(path).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"{path}: other users may read this private key; chmod 600 {path}, or make a new one")
    return key


def _read_pem(path: Path | str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(_MOST_KEY_BYTES)
    except OSError as cause:
        raise InputError(f"{path}: {cause.strerror or cause}; expected the PEM file of a key") from cause


def _parse(path: Path | str, loader: str, *arguments: Any) -> Any:
    """The ed25519 key that a function of cryptography loads; InputError for another key or a wrong password."""
    modules = _cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = getattr(modules.serialization, loader)(*arguments)
        if not isinstance(key, modules.ed25519.Ed25519PublicKey | modules.ed25519.Ed25519PrivateKey):
            raise ValueError("it is another kind of key")
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        why = " ".join(str(cause).split())[:100]
        raise InputError(
            f"{path}: not an ed25519 key in PEM, or the password is wrong ({why}); `edgedigits keygen NAME` makes one"
        ) from cause
    return key


def _cryptography() -> Any:
    """The modules that are needed of the package; RuntimeUnavailableError if it cannot be imported."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as cause:
        raise RuntimeUnavailableError(
            f"signatures need the package cryptography ({cause}); pip install cryptography"
        ) from cause
    return SimpleNamespace(serialization=serialization, ed25519=ed25519)
