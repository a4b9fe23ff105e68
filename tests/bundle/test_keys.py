"""Keys: who may read them, what is no key, and which are trusted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedigits.bundle.signature import load_private, load_public, make_keys, trusted_keys
from edgedigits.errors import EdgeDigitsError, InputError


def no_password() -> str:
    raise AssertionError("asked for a password")


@pytest.mark.skipif(os.name != "posix", reason="there are no such permissions")
def test_the_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private, public_key, _ = make_keys(tmp_path / "new")
    finally:
        os.umask(before)
    assert private.stat().st_mode & 0o777 == 0o600
    assert public_key.stat().st_mode & 0o777 == 0o644
    private.chmod(0o640)
    with pytest.raises(InputError, match=r"other users may read this private key; chmod 600"):
        load_private(private, no_password)


@pytest.mark.parametrize("there", ["new.key", "new.pub"])
def test_nothing_is_overwritten_and_nothing_is_left(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(EdgeDigitsError, match=f"{there}: it exists, and no key is overwritten"):
        make_keys(tmp_path / "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {there: "mine"}


def test_password(tmp_path: Path) -> None:
    private, _, fingerprint = make_keys(tmp_path / "new", "open sesame")
    assert b"ENCRYPTED" in private.read_bytes()
    assert load_private(private, lambda: "open sesame")
    with pytest.raises(InputError, match="or the password is wrong"):
        load_private(private, lambda: "wrong")
    assert len(fingerprint) == 64


def test_files_that_are_no_such_keys(tmp_path: Path, keys: Path) -> None:
    from cryptography.hazmat.primitives import serialization as formats
    from cryptography.hazmat.primitives.asymmetric import ed448

    other = ed448.Ed448PrivateKey.generate()
    files = {
        "ed448.key": other.private_bytes(formats.Encoding.PEM, formats.PrivateFormat.PKCS8, formats.NoEncryption()),
        "ed448.pub": other.public_key().public_bytes(formats.Encoding.PEM, formats.PublicFormat.SubjectPublicKeyInfo),
        "text": b"no key",
        "empty": b"",
        "cut": (keys / "mine.pub").read_bytes()[:60],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
        load: Callable[..., Any] = load_private if name.endswith(".key") else load_public
        with pytest.raises(InputError, match=r"not an ed25519 .*edgedigits keygen NAME"):
            load(tmp_path / name, *([no_password] if name.endswith(".key") else []))
    with pytest.raises(InputError, match="a private key, which must stay secret"):
        load_public(keys / "mine.key")
    with pytest.raises(InputError, match="expected the PEM file of a key"):
        load_public(tmp_path / "none")


def test_the_folder_of_trusted_keys(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDIGITS_KEYS", str(keys))
    assert trusted_keys() == [keys / "mine.pub", keys / "other.pub"]
    monkeypatch.delenv("EDGEDIGITS_KEYS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"no public key is trusted: .*edgedigits/trusted holds no \*\.pub"):
        trusted_keys()
    folder = tmp_path / "edgedigits" / "trusted"
    shutil.copytree(keys, folder)
    assert trusted_keys() == [folder / "mine.pub", folder / "other.pub"]
