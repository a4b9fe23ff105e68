"""`predict` on folders, patterns and standard input, with unreadable files among them, and all that it writes."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from edgedigits.bundle.bundle import Bundle
from edgedigits.runtimes.tensors import AnyArray

Run = Callable[..., subprocess.CompletedProcess[str]]
DIGITS = {"a.png": 12, "b.jpg": 30, "c.BMP": 70}  # a held-out 1, 3 and 7


@pytest.fixture
def folder(tmp_path: Path, unseen: AnyArray) -> Path:
    """Three pictures, a text file and a subfolder."""
    path = tmp_path / "pictures"
    (path / "more").mkdir(parents=True)
    for name, number in DIGITS.items():
        Image.fromarray(255 - unseen[number]).resize((140, 140), Image.Resampling.BICUBIC).save(path / name)
    Image.fromarray(unseen[0]).save(path / "more" / "d.png")
    (path / "notes.txt").write_text("no picture")
    return path


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A picture of a grid: strokes, but no digit."""
    gray = np.full((200, 200), 255, dtype=np.uint8)
    for at in (40, 80, 120, 160):
        gray[at : at + 8, 30:170] = gray[30:170, at : at + 8] = 0
    Image.fromarray(gray).save(tmp_path / "grid.png")
    return tmp_path / "grid.png"


class TestSources:
    def test_a_folder_is_its_pictures_by_name(self, edgedigits: Run, folder: Path) -> None:
        done = edgedigits("predict", folder, "--json", "-")
        assert done.returncode == 0
        rows = json.loads(done.stdout)
        assert [row["source"] for row in rows] == [str(folder / name) for name in DIGITS]
        assert [row["digit"] for row in rows] == [1, 3, 7]
        assert [row["label"] for row in rows] == ["1", "3", "7"]
        assert {row["status"] for row in rows} <= {"sure", "unsure"}

    def test_a_pattern(self, edgedigits: Run, folder: Path) -> None:
        done = edgedigits("predict", folder / "[a-b].*", "--json", "-")
        assert [row["digit"] for row in json.loads(done.stdout)] == [1, 3]
        (folder / "[x].png").write_bytes((folder / "a.png").read_bytes())
        done = edgedigits("predict", folder / "[x].png", "--json", "-")  # a file with this name wins
        assert [row["source"] for row in json.loads(done.stdout)] == [str(folder / "[x].png")]

    @pytest.mark.skipif(sys.platform == "win32", reason="descriptors are redirected otherwise there")
    @pytest.mark.parametrize(
        ("redirection", "message"),
        [
            ("<&-", "empty or not readable; pipe one picture into the command, and give - only once"),
            ("0>file", "empty or not readable"),
            ("</dev/null", "empty or not readable"),
            ("<pictures/notes.txt", "not a supported picture; expected PNG, JPEG, BMP, GIF, TIFF or WebP"),
            ("<pictures/b.jpg", ""),
        ],
    )
    def test_standard_input(self, folder: Path, redirection: str, message: str) -> None:
        command = ["sh", "-c", f"{sys.executable} -m edgedigits predict - {redirection}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)
        if message:
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"edgedigits: standard input: {message}")
            assert done.stderr.count("\n") == 1
        else:
            assert done.returncode == 0
            assert done.stdout.replace("unsure: ", "").startswith("standard input: 3 ")

    def test_nothing_there(self, edgedigits: Run, folder: Path) -> None:
        (folder / "empty").mkdir()
        done = edgedigits("predict", *(folder / name for name in ("more/none", "*.gif", "empty")))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines() == [
            f"edgedigits: {folder}/more/none: no such file; give the path of a picture",
            f"edgedigits: {folder}/*.gif: no pictures found; subfolders are not searched",
            f"edgedigits: {folder}/empty: no pictures found; subfolders are not searched",
        ]


class TestUnreadablePictures:
    def test_the_others_are_read(self, edgedigits: Run, folder: Path) -> None:
        (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:200])
        done = edgedigits("predict", folder, folder / "none.png", "--json", "-", "--csv", folder / "found.csv")
        assert done.returncode == 2
        rows = json.loads(done.stdout)
        assert [row["status"] == "unread" for row in rows] == [False, True, False, True]
        assert [row["digit"] for row in rows] == [1, None, 7, None]
        assert rows[3]["error"] == f"{folder}/none.png: no such file; give the path of a picture"
        first, second = done.stderr.splitlines()
        assert first.startswith(f"edgedigits: {folder}/b.jpg: cannot be read as a picture")
        assert second == f"edgedigits: {rows[3]['error']}"
        with (folder / "found.csv").open(newline="") as stream:
            table = list(csv.DictReader(stream))
        assert [(row["status"], row["digit"]) for row in table][1:3] == [("unread", ""), (rows[2]["status"], "7")]


class TestOutput:
    def test_unsure(self, edgedigits: Run, grid: Path) -> None:
        assert edgedigits("predict", grid, "--strict").returncode == 1
        assert edgedigits("predict", "--index", "0", "--strict").returncode == 0
        done = edgedigits("predict", grid, "--json", grid.with_suffix(".json"))
        assert done.returncode == 0
        assert done.stdout.startswith(f"{grid}: unsure: ")
        assert done.stdout.count(" or ") >= 2
        assert "more loops than a digit has" in done.stdout
        (row,) = json.loads(grid.with_suffix(".json").read_text())
        assert row["status"] == "unsure"
        assert "more loops than a digit has" in row["doubts"]
        assert row["digit"] == max(range(10), key=row["probabilities"].__getitem__)

    def test_csv(self, edgedigits: Run, folder: Path, grid: Path) -> None:
        done = edgedigits("predict", folder / "a.png", grid, "--index", "1015", "--csv", "-")
        table = list(csv.DictReader(done.stdout.splitlines()))
        assert [row["source"] for row in table] == [str(folder / "a.png"), str(grid), "X[1015]"]
        for row in table:
            shares = [float(row[f"p{digit}"]) for digit in range(10)]
            assert sum(shares) == pytest.approx(1, abs=1e-5)
            assert float(row["probability"]) == max(shares) == shares[int(row["digit"])]
        assert "more loops than a digit has" in table[1]["doubts"]

    def test_both_to_standard_output(self, edgedigits: Run, folder: Path) -> None:
        done = edgedigits("predict", folder, "--csv", "-", "--json", "-")
        assert done.returncode == 2
        assert "both write to standard output" in done.stderr

    def test_explain(self, edgedigits: Run, folder: Path) -> None:
        done = edgedigits("predict", folder, "--index", "1015", "--explain", folder / "steps.png")
        assert done.returncode == 0
        with Image.open(folder / "steps.png") as page:
            (width, height), gray = page.size, np.asarray(page.convert("L"))
        assert width > 1000
        assert 4 * 250 < height < 4 * 400
        assert len(np.unique(gray)) > 50  # drawings and text

    def test_explain_with_an_unsupported_suffix(self, edgedigits: Run, folder: Path) -> None:
        done = edgedigits("predict", folder / "a.png", "--explain", folder / "steps.txt")
        assert done.returncode == 2
        assert "unsupported file type" in done.stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
    def test_progress_bar_on_a_terminal(self, folder: Path) -> None:
        command = [sys.executable, "-m", "edgedigits", "predict", *[str(folder / "b.jpg")] * 20]
        terminal, end = pty.openpty()
        running = subprocess.Popen(command, stderr=end, stdout=subprocess.DEVNULL)
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while chunk := os.read(terminal, 4096):
                shown += chunk
        assert running.wait() == 0
        os.close(terminal)
        assert b"[###" in shown
        assert shown.rstrip().endswith(b"\x1b[K")


@pytest.fixture(scope="module")
def by_rows(own_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """40 pictures of the inputs of the row-major model, and what it says of their arrays."""
    folder = tmp_path_factory.mktemp("rows")
    x, y = Bundle(own_bundles["rows"]).inputs()
    for number in range(40):
        pixels = np.rint(x[25 * number] * 255).astype(np.uint8).reshape(20, 20)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder, y[::25].tolist()


class TestOwnModels:
    def test_row_major_pictures(self, edgedigits: Run, own_bundles: dict[str, Path], by_rows: Any) -> None:
        """As many right as its arrays give, which is all."""
        folder, expected = by_rows
        done = edgedigits("predict", folder, "--bundle", own_bundles["rows"], "--json", "-")
        assert done.returncode == 0
        rows = json.loads(done.stdout)
        assert [row["index"] for row in rows] == expected
        assert [row["label"] for row in rows] == [str(index) for index in expected]
        assert not any("digit" in row for row in rows)
        doubts = {doubt for row in rows for doubt in row["doubts"]}
        assert doubts <= {"no class reaches a probability of 80%"}

    def test_ascii_is_upright(self, edgedigits: Run, own_bundles: dict[str, Path], by_rows: Any) -> None:
        folder, _ = by_rows
        done = edgedigits("predict", folder / "30.png", "--bundle", own_bundles["rows"], "--ascii")
        lines = done.stdout.splitlines()[:20]
        with Image.open(folder / "30.png") as picture:
            white = np.argwhere(np.asarray(picture) > 250)
        assert all(lines[row][2 * column] == "@" for row, column in white)

    def test_images_with_named_classes(self, edgedigits: Run, own_bundles: dict[str, Path], folder: Path) -> None:
        bundle = own_bundles["softmax"]
        page = folder.parent / "steps.png"
        done = edgedigits("predict", folder, "--bundle", bundle, "--explain", page, "--csv", folder / "a.csv")
        assert (done.returncode, done.stderr) == (0, "")
        assert all(any(f" {name} " in line for name in ("cat", "dog", "York")) for line in done.stdout.splitlines())
        with (folder / "a.csv").open(newline="") as stream:
            table = list(csv.DictReader(stream))
        assert len(table) == 3
        for row in table:
            shares = {name: float(row[f"p_{name}"]) for name in ("cat", "dog", "New York")}
            assert row["label"] == max(shares, key=lambda name: shares[name])
        with Image.open(page) as drawn:
            assert drawn.size[0] < 1000  # without a digit's steps

    def test_two_classes_and_300(self, edgedigits: Run, own_bundles: dict[str, Path]) -> None:
        done = edgedigits("predict", "--index", "3", "--index", "0", "--bundle", own_bundles["sigmoid"])
        assert done.returncode == 0
        for line in done.stdout.splitlines():
            assert {"ham", "spam"} <= set(line.replace("(", " ").split())
        done = edgedigits("predict", "--index", "3", "--bundle", own_bundles["many"], "--json", "-")
        (row,) = json.loads(done.stdout)
        assert (len(row["probabilities"]), row["label"]) == (300, f"class {row['index']}")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["a.png", "b.jpg"], "takes no pictures; export it with --pictures plain, or use --index N"),
            (["--index", "0", "--ascii"], "takes no pictures, so its inputs cannot be drawn; leave out --ascii and"),
        ],
    )
    def test_a_model_without_pictures(
        self, edgedigits: Run, own_bundles: dict[str, Path], folder: Path, arguments: list[str], message: str
    ) -> None:
        paths = [folder / name if "." in name else name for name in arguments]
        done = edgedigits("predict", *paths, "--bundle", own_bundles["sigmoid"])
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert f"edgedigits: the model of {own_bundles['sigmoid']} {message}" in done.stderr


def test_a_plain_picture_imports_no_more_than_it_needs(folder: Path) -> None:
    """Only one of Pillow's formats, and nothing for tables and drawings."""
    command = [sys.executable, "-X", "importtime", "-m", "edgedigits", "predict", str(folder / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert "PIL.PngImagePlugin" in imported
    late = {"edgedigits.pictures.explain", "PIL.ImageDraw", "PIL.ImageFont"}
    others = {"PIL.JpegImagePlugin", "PIL.GifImagePlugin", "PIL.ImageOps", "csv", "glob", "zipfile", "shutil"}
    # An older Pillow loads the common formats and what they need at once; so does an older Python in places.
    older = int(PIL.__version__.partition(".")[0]) < 13 or sys.version_info < (3, 11)
    assert not imported & (late if older else late | others)


def test_file_name_that_is_not_utf8(folder: Path, tmp_path: Path) -> None:
    name: Any = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        Path(os.fsdecode(name)).write_bytes((folder / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    done = subprocess.run([sys.executable, "-m", "edgedigits", "predict", name, "--csv", "-"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"caf" in done.stdout
