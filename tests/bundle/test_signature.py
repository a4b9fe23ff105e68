"""Signatures: what is signed holds, and nothing else does."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgedigits.bundle.bundle import MANIFEST, SIGNATURE, Bundle
from edgedigits.bundle.signature import CONTEXT, Signature, load_private, make_keys
from edgedigits.bundle.signing import sign_bundle, signature_status
from edgedigits.classifier import Classifier
from edgedigits.errors import BundleError, InputError, SignatureError
from edgedigits.system.files import sha256

Run = Callable[..., subprocess.CompletedProcess[str]]
MINE, OTHER = "mine", "other"


def no_password() -> str:
    raise AssertionError("asked for a password")


@pytest.fixture
def signed(originals: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(originals["directory"], tmp_path / "bundle"))


def public(keys: Path, name: str = MINE) -> list[Path]:
    return [keys / f"{name}.pub"]


def refused(path: Path, keys: list[Path]) -> str:
    with pytest.raises(SignatureError) as caught:
        Bundle(path, signed_by=keys)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


class TestHolds:
    @pytest.mark.parametrize("form", ["directory", "zip"])
    def test_signed_bundle(self, originals: dict[str, Path], keys: Path, form: str) -> None:
        signed = originals[form]
        opened = Bundle(signed, signed_by=[*public(keys, OTHER), *public(keys)])  # one of them is enough
        opened.verify()
        assert opened.manifest == Bundle().manifest
        found = signature_status(opened)
        assert found is not None
        assert found == {"key": opened.signer, "verified": True}
        assert signature_status(Bundle(signed)) == {"key": opened.signer, "verified": False}
        assert signature_status(Bundle()) is None

    def test_signed_again_by_another(self, signed: Path, keys: Path) -> None:
        sign_bundle(Bundle(signed), load_private(keys / f"{OTHER}.key", no_password))
        assert Bundle(signed, signed_by=public(keys, OTHER)).signer
        assert "signed by another key" in refused(signed, public(keys))
        Bundle(signed).verify()

    def test_a_zip_keeps_what_else_is_in_it(self, originals: dict[str, Path], tmp_path: Path, keys: Path) -> None:
        path = Path(shutil.copy(originals["zip"], tmp_path / "bundle.zip"))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("notes.txt", "ours")
        sign_bundle(Bundle(path), load_private(keys / f"{OTHER}.key", no_password))
        with zipfile.ZipFile(path) as archive:
            assert archive.read("notes.txt") == b"ours"
            assert archive.namelist().count(SIGNATURE) == 1
        Bundle(path, signed_by=public(keys, OTHER)).verify()

    def test_nothing_but_the_signature_is_written_into_a_directory(self, bundle_copy: Path, keys: Path) -> None:
        before = {path.name: path.stat() for path in bundle_copy.iterdir()}
        sign_bundle(Bundle(bundle_copy), load_private(keys / f"{MINE}.key", no_password))
        after = {path.name: path.stat() for path in bundle_copy.iterdir()}
        assert set(after) - set(before) == {SIGNATURE}
        assert all(after[name].st_mtime_ns == stat.st_mtime_ns for name, stat in before.items())


class TestRefused:
    def test_unsigned(self, signed: Path, keys: Path) -> None:
        (signed / SIGNATURE).unlink()
        assert refused(signed, public(keys)).startswith("not signed (there is no manifest.sig)")
        assert Bundle(signed).signature() is None

    def test_one_byte_of_the_manifest(self, signed: Path, keys: Path) -> None:
        """A blank at its end leaves the same facts; the other manifest cannot even be parsed."""
        for content in (Bundle(signed).manifest_bytes + b" ", b"\xff["):
            (signed / MANIFEST).write_bytes(content)
            assert refused(signed, public(keys)).startswith("manifest.json was changed since ")

    def test_a_file_and_its_checksum(self, signed: Path, keys: Path) -> None:
        """Who changes both passes every checksum; the signature is what tells."""
        other = Bundle("robust").read("int8.tflite")
        old = Bundle(signed).artifact("int8.tflite").sha256
        manifest = Bundle(signed).manifest_bytes.replace(old.encode(), sha256(other).encode())
        (signed / "int8.tflite").write_bytes(other)
        (signed / MANIFEST).write_bytes(manifest)
        Bundle(signed).verify()
        assert "was changed since" in refused(signed, public(keys))

    def test_signatures_of_something_else(self, signed: Path, keys: Path) -> None:
        """One bit changed, another key that claims to be this one, and the bare manifest signed without the context."""
        mine, other = (load_private(keys / f"{name}.key", no_password) for name in (MINE, OTHER))
        found, manifest = Signature.from_bytes((signed / SIGNATURE).read_bytes()), Bundle(signed).manifest_bytes
        flipped = found.value[:-1] + bytes([found.value[-1] ^ 1])
        for value in (flipped, other.sign(CONTEXT + manifest), mine.sign(manifest)):
            (signed / SIGNATURE).write_bytes(Signature(found.key, value).to_bytes())
            assert "was changed since" in refused(signed, public(keys))

    @pytest.mark.parametrize(
        "change",
        [
            lambda c: b"",
            lambda c: c[:-1],
            lambda c: c.replace(b"\n", b"\r\n"),
            lambda c: c.replace(b"signature 1,", b"signature 2,"),
            lambda c: c.upper(),
            lambda c: bytes(10**6),
            lambda c: c[:-4] + bytes([c[-4] + 1]) + c[-3:],  # the bits of base64 that say nothing
        ],
        ids=["empty", "cut", "CRLF", "version", "case", "long", "spare bits"],
    )
    def test_a_damaged_signature(self, signed: Path, keys: Path, change: Callable[[bytes], bytes]) -> None:
        (signed / SIGNATURE).write_bytes(change((signed / SIGNATURE).read_bytes()))
        assert refused(signed, public(keys)).startswith("manifest.sig is damaged (")
        assert signature_status(Bundle(signed)) is None

    def test_no_key_at_all_is_no_permission(self, signed: Path) -> None:
        with pytest.raises(InputError, match="no public key is trusted"):
            Bundle(signed, signed_by=[])

    def test_a_file_changed_once_it_is_open(self, originals: dict[str, Path], tmp_path: Path, keys: Path) -> None:
        """Signature and manifest included: what is used is what was verified."""
        folder = Path(shutil.copytree(originals["directory"], tmp_path / "bundle"))
        opened = Bundle(folder, signed_by=public(keys))
        for file in ("float32.tflite", MANIFEST):
            shutil.copy(Bundle("robust").path / file, folder / file)
        (folder / SIGNATURE).unlink()
        with pytest.raises(BundleError, match=r"float32\.tflite is damaged"):
            Classifier(opened)
        assert opened.manifest == Bundle().manifest

    def test_a_damaged_bundle_is_not_signed(self, bundle_copy: Path, keys: Path) -> None:
        (bundle_copy / "int8.tflite").write_bytes(b"other")
        with pytest.raises(BundleError, match=r"int8\.tflite is damaged"):
            sign_bundle(Bundle(bundle_copy), load_private(keys / f"{MINE}.key", no_password))
        assert not (bundle_copy / SIGNATURE).exists()

    def test_packaged_bundles_are_not_written(self, keys: Path) -> None:
        with pytest.raises(InputError, match="is inside the package; sign a copy of it"):
            sign_bundle(Bundle("robust"), load_private(keys / f"{MINE}.key", no_password))
        assert Bundle("robust").signature() is None

    def test_output_that_is_there(self, keys: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="exists; choose another name"):
            sign_bundle(Bundle(), load_private(keys / f"{MINE}.key", no_password), tmp_path)

    def test_a_signature_is_shared_by_no_other_bundle(
        self, originals: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a kit's installation ``notebook`` may be signed; what ``robust`` shares with it is the data alone."""
        shutil.copytree(originals["directory"], tmp_path / "notebook")
        shutil.copytree(Bundle("robust").path, tmp_path / "robust")
        monkeypatch.setattr("edgedigits.bundle.bundle.MODELS", tmp_path)
        monkeypatch.setattr("edgedigits.bundle.bundle.DEFAULT_BUNDLE", tmp_path / "notebook")
        robust = Bundle(tmp_path / "robust")
        robust.verify()
        assert Bundle(tmp_path / "notebook").signature() is not None
        assert robust.signature() is None


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
class TestOpenssl:
    """Another program makes, reads and verifies the same files."""

    def test_it_verifies_what_we_sign(self, originals: dict[str, Path], keys: Path, tmp_path: Path) -> None:
        folder = originals["directory"]
        lines = (folder / SIGNATURE).read_text(encoding="ascii").splitlines()
        context = b"edgedigits bundle manifest, version 1\n"
        (tmp_path / "message").write_bytes(context + (folder / MANIFEST).read_bytes())
        (tmp_path / "value").write_bytes(base64.b64decode(lines[2].removeprefix("signature ")))
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys / f"{MINE}.pub"), "-rawin"]
        done = subprocess.run(
            [*command, "-in", "message", "-sigfile", "value"], cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout.strip()) == (0, "Signature Verified Successfully"), done.stderr
        der = ["openssl", "pkey", "-pubin", "-in", str(keys / f"{MINE}.pub"), "-outform", "DER"]
        assert f"key {sha256(subprocess.run(der, capture_output=True, check=True).stdout)}" == lines[1]

    def test_we_sign_with_its_keys(self, bundle_copy: Path, tmp_path: Path) -> None:
        make = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", "its.key"]
        for command in (make, ["openssl", "pkey", "-in", "its.key", "-pubout", "-out", "its.pub"]):
            subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        (tmp_path / "its.key").chmod(0o600)
        sign_bundle(Bundle(bundle_copy), load_private(tmp_path / "its.key", no_password))
        assert Bundle(bundle_copy, signed_by=[tmp_path / "its.pub"]).signer
        assert Bundle(bundle_copy, signed_by=str(tmp_path / "its.pub")).signer


class TestCommands:
    def test_from_keys_to_an_answer(self, edgedigits: Run, tmp_path: Path) -> None:
        made = edgedigits("keygen", "ours")
        assert made.returncode == 0
        fingerprint = made.stdout.rpartition(" ")[2].strip()
        signed = edgedigits("sign", "robust", "--key", "ours.key", "--output", "b.zip", "--json", "-")
        assert json.loads(signed.stdout) == {"bundle": "b.zip", "signed_by": fingerprint}
        verified = edgedigits("verify", "b.zip", "--key", "ours.pub", "--json", "-")
        assert (verified.returncode, verified.stderr) == (0, "")
        facts = json.loads(verified.stdout)
        assert (facts["holds"], facts["signed_by"], len(facts["files"])) == (True, fingerprint, 7)
        shown = edgedigits("inspect", "b.zip").stdout.splitlines()[1]
        assert shown == f"signed by {fingerprint}, not verified; use `edgedigits verify`"
        assert f"signed by {fingerprint}, verified" in edgedigits("inspect", "b.zip", "--key", "ours.pub").stdout
        trusting = {**os.environ, "EDGEDIGITS_KEYS": "."}
        answered = edgedigits("predict", "--bundle", "b.zip", "--index", "3", "--require-signed", env=trusting)
        assert (answered.returncode, answered.stdout[:8]) == (0, "X[3]: 0 ")
        proven = edgedigits("parity", "b.zip", "--key", "ours.pub", "--runtime", "litert", "--kernels", "default")
        assert (proven.returncode, proven.stderr) == (0, "")

    def test_verify_tells_what_does_not_hold(self, edgedigits: Run, keys: Path, originals: dict[str, Path]) -> None:
        path = originals["zip"]
        for bundle, key, expected in (
            (path, OTHER, "signed by another key"),
            (Bundle().path, MINE, "not signed"),
        ):
            done = edgedigits("verify", bundle, "--key", keys / f"{key}.pub")
            assert (done.returncode, done.stderr) == (1, "")
            assert done.stdout.startswith(f"NOT VERIFIED: {bundle}: {expected}")
        trouble = edgedigits("verify", "nothing", "--key", keys / f"{MINE}.pub")
        assert (trouble.returncode, trouble.stdout) == (2, "")

    @pytest.mark.parametrize("how", ["--key", "--require-signed"])
    @pytest.mark.parametrize("command", [("predict", "--index", "3"), ("parity",), ("benchmark", "--quick")])
    def test_an_unsigned_bundle_is_refused_before_a_runtime_starts(
        self, keys: Path, how: str, command: tuple[str, ...], tmp_path: Path
    ) -> None:
        """The packaged bundle is not signed; Python's list of imports tells that the process had no runtime."""
        options = ["--key", str(keys / f"{MINE}.pub")] if how == "--key" else ["--require-signed"]
        environment = {**os.environ, "EDGEDIGITS_KEYS": str(keys), "PYTHONPROFILEIMPORTTIME": "1"}
        line = [sys.executable, "-m", "edgedigits", *command, *options]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "not signed (there is no manifest.sig)" in done.stderr.splitlines()[-1]
        assert "edgedigits.bundle.bundle" in done.stderr
        assert not {"ai_edge_litert", "tflite_runtime", "onnxruntime"} & set(re.findall(r"\w+", done.stderr))

    def test_password_from_the_environment(self, edgedigits: Run, tmp_path: Path) -> None:
        private, public_key, _ = make_keys(tmp_path / "locked", "open sesame")
        environment = {**os.environ, "EDGEDIGITS_PASSWORD": "open sesame"}
        assert edgedigits("sign", "notebook", "--key", private, "-o", "b.zip", env=environment).returncode == 0
        assert edgedigits("verify", "b.zip", "--key", public_key).returncode == 0

    def test_without_the_extra(
        self, edgedigits: Run, keys: Path, originals: dict[str, Path], hidden: Callable[..., dict[str, str]]
    ) -> None:
        done = edgedigits("predict", "--index", "1", "--key", keys / "mine.pub", env=hidden("cryptography"))
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.endswith("pip install cryptography")
        done = edgedigits("inspect", originals["zip"], "--json", "-", env=hidden("cryptography"))
        assert json.loads(done.stdout)["signature"]["verified"] is False

    def test_predict_without_a_demand_needs_none_of_it(self, edgedigits: Run, originals: dict[str, Path]) -> None:
        command = [sys.executable, "-X", "importtime", "-m", "edgedigits", "predict", "--index", "3", "--bundle"]
        done = subprocess.run([*command, str(originals["directory"])], capture_output=True, text=True)
        assert done.returncode == 0
        assert "cryptography" not in done.stderr
        assert "edgedigits.bundle.signature" not in done.stderr
