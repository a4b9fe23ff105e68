"""Writing the site: what is refused, what is replaced, how large it is. No browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgedigits.bundle.bundle import MANIFEST, Bundle
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.system.files import sha256
from edgedigits_export.targets.web import litert
from edgedigits_export.targets.web.site import STATIC, write_site

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_every_file_is_listed_with_its_checksum(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="site">(.*)</script>', page)
    facts = json.loads(found)
    files = {path.relative_to(site).as_posix(): path.read_bytes() for path in (site / "model").iterdir()}
    assert facts["files"] == {name: sha256(content) for name, content in files.items()}
    tflite = [artifact for artifact in Bundle("robust").manifest.artifacts if artifact.format == "tflite"]
    assert [artifact["sha256"] for artifact in facts["artifacts"]] == [artifact.sha256 for artifact in tflite]
    assert all(facts["files"][f"model/{artifact.file}"] == artifact.sha256 for artifact in tflite)
    kept = json.loads(re.findall(r"FILES = (\[.*?\]);", (site / "sw.js").read_text(encoding="utf-8"))[0])
    here = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert {*kept} == {"./", *here} - {"sw.js"}


def test_sizes(site: Path) -> None:
    """At most 200 kB without the images, and a page of at most 700 lines."""
    files = [path for path in site.rglob("*") if path.is_file() and path.name != "proof.f32"]
    assert sum(path.stat().st_size for path in files) < 200_000
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in STATIC.iterdir()) <= 700


def test_only_a_site_or_an_empty_folder_is_replaced(site: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sw.js").write_text("// of another page")
    (tmp_path / "mine" / "letter.txt").write_text("keep this")
    with pytest.raises(InputError, match="holds other files"):
        write_site(Bundle(), tmp_path / "mine", {})
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep this"
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        write_site(Bundle("robust"), tmp_path / "empty", {})
        assert (tmp_path / "empty" / "sw.js").read_bytes() == (site / "sw.js").read_bytes()


def test_a_name_in_the_manifest_stays_text(bundle_copy: Path, tmp_path: Path) -> None:
    facts = json.loads((bundle_copy / MANIFEST).read_text(encoding="utf-8"))
    facts["name"] = "</script><script>alert(1)</script>"
    (bundle_copy / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")
    write_site(Bundle(bundle_copy), tmp_path / "page.html", {}, draw_only=True)
    assert "<script>alert" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_model_that_is_not_for_drawn_digits(bundle_copy: Path, edgedigits: Run) -> None:
    facts = json.loads((bundle_copy / MANIFEST).read_text(encoding="utf-8"))
    facts["contract"]["pictures"] = "none"
    (bundle_copy / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")
    done = edgedigits("web", bundle_copy, "-o", "site")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the page draws 20x20 digits" in done.stderr


def test_a_model_that_only_litert_can_run(replace_in_bundle: Callable[[str, bytes], Path], edgedigits: Run) -> None:
    """Operators that the numpy runtime lacks: here, fully connected layers that are called something else."""
    for artifact in (artifact for artifact in Bundle().manifest.artifacts if artifact.format == "tflite"):
        content = Bundle().read(artifact.file)
        folder = replace_in_bundle(artifact.file, content.replace(b"\x00\x00\x00\x09", b"\x00\x00\x00\x19"))
    done = edgedigits("web", folder, "-o", "site")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "use --runtime litert" in done.stderr


def test_the_package_of_litert_is_checked(tmp_path: Path, edgedigits: Run) -> None:
    (tmp_path / "other.tgz").write_bytes(b"another release")
    for path, problem in ((tmp_path / "other.tgz", "not @litertjs/core 2.5.3"), (tmp_path, "cannot be read")):
        done = edgedigits("web", "--runtime", "litert", "--tgz", path, "-o", "site")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert problem in done.stderr
    assert "add --runtime litert" in edgedigits("web", "--tgz", tmp_path / "other.tgz").stderr


def test_without_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "")
    with pytest.raises(RuntimeUnavailableError, match="npm, which is not installed"):
        litert.read_package(None)
